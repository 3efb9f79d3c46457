// What the words of an L2 entry mean.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/l2_entry.hpp"

#include <doctest/doctest.h>

using namespace qimg;
using namespace qimg::qcow2;

namespace {

constexpr Geometry plain(16, 4, false);
constexpr Geometry extended(16, 4, true);

}  // namespace

TEST_CASE("an entry's kind follows from its flags and offset") {
    CHECK(L2Entry{0}.kind(plain) == ClusterKind::unallocated);
    CHECK(L2Entry{1}.kind(plain) == ClusterKind::zero_plain);
    CHECK(L2Entry{0x50001}.kind(plain) == ClusterKind::zero_allocated);
    CHECK(L2Entry{disk::flag_copied | 0x50000}.kind(plain) == ClusterKind::normal);
    CHECK(L2Entry{0x50000}.kind(plain) == ClusterKind::normal);
    CHECK(L2Entry{disk::flag_compressed | 0x50123}.kind(plain) == ClusterKind::compressed);
}

TEST_CASE("host offset 0 is one only in a data file, and only with the copied flag") {
    const Geometry external(16, 4, false, true);
    CHECK(L2Entry{disk::flag_copied}.has_host(external));
    CHECK_FALSE(L2Entry{0}.has_host(external));
    CHECK_FALSE(L2Entry{disk::flag_copied}.has_host(plain));
    CHECK(L2Entry{disk::flag_copied}.kind(plain) == ClusterKind::unallocated);
    CHECK(L2Entry{disk::flag_copied | 1}.kind(plain) == ClusterKind::zero_plain);
}

TEST_CASE("the zero bit means nothing with extended entries") {
    CHECK(L2Entry{0x50001}.kind(extended) == ClusterKind::normal);
}

TEST_CASE("a compressed entry's place goes to the end of its last sector") {
    for (unsigned bits = cluster_bits_min; bits <= cluster_bits_max; ++bits) {
        CAPTURE(bits);
        const Geometry geometry(bits, 4, false);
        for (std::uint64_t bytes : {std::uint64_t{1}, std::uint64_t{300}, geometry.cluster_bytes() - 1}) {
            const HostOffset at(0x12345);
            const CompressedPlace place = L2Entry::for_compressed(geometry, at, bytes).compressed(geometry);
            CHECK(place.host == at);
            CHECK(place.bytes >= bytes);
            CHECK(place.bytes < bytes + sector_bytes);
            CHECK(is_aligned(place.host.bytes + place.bytes, sector_bytes));
        }
    }
}

TEST_CASE("a subcluster is data, zeroes or unallocated, and never two of them") {
    const L2Entry entry{disk::flag_copied | 0x50000, 0x1 | 0x2ull << 32};
    CHECK(entry.subcluster(0) == SubclusterKind::data);
    CHECK(entry.subcluster(1) == SubclusterKind::zeroes);
    CHECK(entry.subcluster(31) == SubclusterKind::unallocated);
    CHECK(entry.is_bitmap_valid(extended));
    CHECK_FALSE(L2Entry{disk::flag_copied | 0x50000, 0x1 | 0x1ull << 32}.is_bitmap_valid(extended));
    CHECK_FALSE(L2Entry{0, 0x1}.is_bitmap_valid(extended));
}
