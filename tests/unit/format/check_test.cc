// Rules of check and repair, on small images in memory.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check.hpp"

#include <doctest/doctest.h>

#include "base/endian.hpp"
#include "format/qcow2/check/cluster_counts.hpp"
#include "format/qcow2/create.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

constexpr std::uint64_t cluster = 64 * KiB;  // of the default layout: refcounts in cluster 2, L1 in cluster 3
constexpr std::uint64_t refcount_block = 2 * cluster;

template <class T>
void put(Qcow2& image, std::uint64_t at, T value) {
    REQUIRE(image.storage().write(HostOffset(at), std::as_bytes(std::span(&value, 1))));
}

// An empty image of 1 GiB with two clusters of zeroes behind its own.
std::unique_ptr<Qcow2> make_image() {
    auto storage = memory_storage();
    REQUIRE(create_empty(*storage, Qcow2Layout{}, GiB));
    REQUIRE(storage->resize(6 * cluster));
    return Qcow2::open(std::move(storage), {}).value();
}

CheckReport check_of(Qcow2& image, Repair repair = Repair::none) {
    return check_image(image, repair, {}, no_progress()).value();
}

bool is_whole(const CheckReport& report) {
    return report.check_errors == 0 && report.corruptions == 0 && report.leaks == 0;
}

}  // namespace

TEST_CASE("a new image is whole") {
    CHECK(is_whole(check_of(*make_image())));
}

TEST_CASE("a refcount without a reference is a leak, and repair takes it back") {
    const auto image = make_image();
    put(*image, refcount_block + 2 * 4, be16(7));
    CHECK(check_of(*image).leaks == 1);
    CHECK(check_of(*image, Repair::leaks).leaks_fixed == 1);
    CHECK(is_whole(check_of(*image)));
}

TEST_CASE("clusters in use without a refcount need new refcount structures") {
    const auto image = make_image();
    put(*image, refcount_block + 2 * 3, be16(0));
    CHECK(check_of(*image).corruptions == 1);
    CHECK_FALSE(check_image(*image, Repair::leaks, {}, no_progress()));
    CHECK(check_of(*image, Repair::all).corruptions_fixed == 1);
    CHECK(is_whole(check_of(*image)));
    CHECK(image->header().refcount_table.bytes != cluster);
}

TEST_CASE("L1 entries that share one table that is an L1 table itself end, and count") {
    const auto image = make_image();
    for (std::uint64_t i = 0; i < image->header().l1_entries; ++i) {
        put(*image, 3 * cluster + 8 * i, be64(3 * cluster));
    }
    CHECK(check_of(*image).corruptions != 0);
    (void)check_image(*image, Repair::all, {}, no_progress());
}

TEST_CASE("repair clears the dirty and the corrupt bit") {
    const auto image = make_image();
    image->header().incompatible |= disk::incompatible_dirty | disk::incompatible_corrupt;
    REQUIRE(image->commit_header());
    REQUIRE(repair_refcounts(*image, {}));
    CHECK_FALSE(image->header().is(disk::incompatible_dirty | disk::incompatible_corrupt));
}

TEST_CASE("counts widen past 16 bits and stop at the limit") {
    const auto never = [](std::uint64_t, std::uint64_t) { FAIL("no overflow expected"); };
    ClusterCounts counts(10, 100000);
    counts.add({2, 3}, 65535, never);
    CHECK(counts.get(4) == 65535);
    counts.add({4, 1}, 2, never);
    CHECK(counts.get(4) == 65537);
    CHECK(counts.get(3) == 65535);
    std::uint64_t excess = 0;
    counts.add({4, 1}, 40000, [&](std::uint64_t, std::uint64_t more) { excess = more; });
    CHECK(counts.get(4) == 100000);
    CHECK(excess == 5537);
    CHECK(counts.get(9999999) == 0);
}
