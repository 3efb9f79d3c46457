// Growing small file systems in memory.
// SPDX-License-Identifier: Apache-2.0
#include "guest/xfs/grow.hpp"

#include <doctest/doctest.h>

#include "guest/xfs/group.hpp"
#include "guest/xfs/verify.hpp"
#include "support/memory_volume.hpp"
#include "support/xfs_sample.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::MemoryVolume;
using test::XfsSample;

namespace {

constexpr std::uint64_t mib = 1 << 20, kib = 1 << 10;

MemoryVolume made(const XfsSample& sample) {
    MemoryVolume volume(sample.bytes());
    sample.write_to(volume);
    return volume;
}

xfs::Growth grown(MemoryVolume& volume, std::uint64_t size) {
    volume.resize(size);
    const auto growth = xfs::grow(volume, no_progress());
    if (!growth) FAIL(growth.error().message);
    const auto verdict = xfs::verify(volume, *growth);
    if (!verdict) FAIL(verdict.error().message);
    return *growth;
}

struct LastGroup {
    xfs::GroupHeaders headers;
    xfs::FreeSpace space;
};

LastGroup group_of(const MemoryVolume& volume, std::uint32_t group) {
    const xfs::Geometry geometry = xfs::open(volume).value().geometry;
    LastGroup found;
    found.headers = xfs::read_headers(volume, geometry, group).value();
    found.space = xfs::read_free_space(volume, geometry, found.headers).value();
    return found;
}

// Single blocks, of which the last ends before the group does.
std::vector<xfs::disk::Extent> pieces(std::uint32_t count, std::uint32_t first) {
    std::vector<xfs::disk::Extent> found;
    for (std::uint32_t i = 0; i < count; ++i)
        found.push_back({first + 2 * i, 1u});
    return found;
}

class Stopping : public Progress {
  public:
    void update(std::uint64_t, std::uint64_t) override {}
    bool cancelled() const override { return true; }
};

}  // namespace

TEST_CASE("a file system grows to the end of its volume, in one step as in several") {
    for (const std::uint32_t ro_compat : {0u, 0x1u, 0x5u, 0x9u, 0x3u, 0x2u, 0xfu, 0x6u}) {
        CAPTURE(ro_compat);
        XfsSample sample;
        sample.ro_compat = ro_compat;
        MemoryVolume volume = made(sample), other = made(sample);
        const xfs::Growth growth = grown(volume, 50 * mib);
        CHECK(growth.old_bytes == sample.bytes());
        CHECK(growth.new_bytes == 50 * mib);
        CHECK(growth.new_groups == 13);
        for (const std::uint64_t size :
             {sample.bytes() + kib, 7 * mib, 8 * mib, 8 * mib + 100 * kib, 50 * mib})
            grown(other, size);
        CHECK(xfs::open(volume).value().raw.free_blocks == xfs::open(other).value().raw.free_blocks);
    }
}

TEST_CASE("what does not grow is not written") {
    MemoryVolume volume = made(XfsSample());
    const std::uint64_t written = volume.bytes_written;
    volume.resize(XfsSample().bytes() + 1023);
    const xfs::Growth growth = xfs::grow(volume, no_progress()).value();
    CHECK(growth.new_bytes == growth.old_bytes);
    CHECK(volume.bytes_written == written);
}

TEST_CASE("a last group of less than 64 blocks is not made") {
    MemoryVolume volume = made(XfsSample());
    CHECK(grown(volume, 12 * mib + 63 * kib).new_bytes == 12 * mib);
    CHECK(grown(volume, 12 * mib + 64 * kib).new_bytes == 12 * mib + 64 * kib);
    CHECK(grown(volume, 12 * mib + 65 * kib).new_groups == 4);
}

TEST_CASE("free space at the group's end becomes longer, and is sorted in anew") {
    XfsSample sample;
    sample.free = {{200u, 50u}, {400u, 300u}, {1990u, 10u}};
    MemoryVolume volume = made(sample);
    grown(volume, sample.bytes() + 100 * kib);
    LastGroup last = group_of(volume, 1);
    CHECK(last.space.by_start.extents == std::vector<xfs::FreeExtent>{{200, 50}, {400, 300}, {1990, 110}});
    CHECK(last.space.by_count.extents == std::vector<xfs::FreeExtent>{{200, 50}, {1990, 110}, {400, 300}});
    CHECK(last.headers.space.longest == 300);
    grown(volume, sample.bytes() + 400 * kib);
    last = group_of(volume, 1);
    CHECK(last.space.by_count.extents.back() == xfs::FreeExtent{1990, 410});
    CHECK(last.headers.space.longest == 410);
}

TEST_CASE("a group without free space gets some") {
    XfsSample sample;
    sample.free = {{300u, 1u}};
    MemoryVolume volume = made(sample);
    grown(volume, sample.bytes() + 5 * kib);
    CHECK(group_of(volume, 1).space.by_start.extents == std::vector<xfs::FreeExtent>{{300, 1}, {2000, 5}});
}

TEST_CASE("trees that are full get blocks of the free list") {
    constexpr std::uint32_t leaf = XfsSample::leaf_records, node = XfsSample::node_records;
    struct Case {
        std::uint32_t pieces, levels, taken;
    };
    for (const Case& one :
         {Case{leaf - 1, 1, 0}, Case{leaf, 2, 4}, Case{2 * leaf, 2, 2}, Case{2 * leaf + 60, 2, 0},
          Case{leaf * node, 3, 6}, Case{leaf * node - 1, 2, 0}, Case{leaf * (node + 40), 3, 2}}) {
        CAPTURE(one.pieces);
        XfsSample sample;
        sample.group_blocks = 64 * 1024;
        sample.last_blocks = 40 * 1024;
        sample.list_count = 8;
        sample.list_first = 115;  // it goes on at the front
        sample.free = pieces(one.pieces, 1000);
        MemoryVolume volume = made(sample);
        const LastGroup before = group_of(volume, 1);
        grown(volume, sample.bytes() + mib);
        const LastGroup last = group_of(volume, 1);
        CHECK(last.headers.space.by_start_levels == one.levels);
        CHECK(last.headers.space.by_count_levels == one.levels);
        CHECK(last.space.list.size() == before.space.list.size() - one.taken);
        CHECK(last.headers.space.tree_blocks == before.headers.space.tree_blocks + one.taken);
        CHECK(last.space.by_start.extents.size() == one.pieces + 1);
    }
}

TEST_CASE("a full tree without blocks for more is left alone") {
    XfsSample sample;
    sample.free = pieces(XfsSample::leaf_records, 300);
    sample.list_count = 3;
    MemoryVolume volume = made(sample);
    volume.resize(20 * mib);
    const std::uint64_t written = volume.bytes_written;
    CHECK(xfs::grow(volume, no_progress()).error().kind == ErrorKind::unsupported);
    CHECK(volume.bytes_written == written);
}

TEST_CASE("a longest extent that moves from one leaf to another leaves both half full") {
    XfsSample sample;
    sample.group_blocks = 64 * 1024;
    sample.last_blocks = 40 * 1024;
    sample.free = pieces(5000, 1000);
    sample.free.push_back({40 * 1024 - 1u, 1u});
    MemoryVolume volume = made(sample);
    grown(volume, sample.bytes() + mib);
    CHECK(group_of(volume, 1).headers.space.longest == 1025);
}

TEST_CASE("growth that fails or is cancelled says so") {
    const XfsSample sample;
    for (int calls = 0; calls < 12; ++calls) {
        MemoryVolume volume = made(sample);
        volume.resize(20 * mib);
        volume.calls_until_failure = calls;
        const auto growth = xfs::grow(volume, no_progress());
        CHECK(growth.has_value() == (calls >= 8));
        if (!growth) CHECK(growth.error().kind == ErrorKind::no_space);
    }
    MemoryVolume volume = made(sample);
    volume.resize(20 * mib);
    Stopping stopping;
    CHECK(xfs::grow(volume, stopping).error().kind == ErrorKind::cancelled);
}

TEST_CASE("too many groups are left to others") {
    MemoryVolume volume = made(XfsSample());
    volume.resize(4 * mib * (xfs::groups_max + 1));
    CHECK(xfs::grow(volume, no_progress()).error().kind == ErrorKind::unsupported);
}

TEST_CASE("verification notices every bit of a new group's headers and roots") {
    const XfsSample sample;
    MemoryVolume volume = made(sample);
    const xfs::Growth growth = grown(volume, 13 * mib);
    const std::uint64_t start = 8 * mib;
    for (std::uint64_t at = start; at < start + 8 * kib; at += 7) {
        std::array<std::byte, 1> byte;
        volume.read(at, byte).value();
        const auto old = byte;
        byte[0] ^= std::byte{0x10};
        volume.write(at, byte).value();
        CAPTURE(at);
        CHECK(!xfs::verify(volume, growth));
        volume.write(at, old).value();
    }
    CHECK(xfs::verify(volume, growth).has_value());
}
