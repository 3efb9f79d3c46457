// How large a file system becomes, and where new metadata goes.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/plan.hpp"

#include <doctest/doctest.h>

using namespace qimg;
using namespace qimg::guest;

namespace {

constexpr std::uint64_t gib = 1ull << 30;

// As mke2fs makes it by default: blocks of 4 KiB in groups of 128 MiB.
ext4::Geometry ordinary(std::uint32_t groups) {
    ext4::Geometry g;
    g.block_bytes = 4096;
    g.blocks_per_group = 32768;
    g.inodes_per_group = 8192;
    g.inode_bytes = 256;
    g.descriptor_bytes = 64;
    g.groups_per_flex = 16;
    g.groups = groups;
    g.blocks = std::uint64_t{groups} * 32768;
    g.reserved_descriptor_blocks = 3;
    g.compat = ext4::disk::has_resize_inode;
    g.incompat = ext4::disk::wide | ext4::disk::flex_bg;
    g.ro_compat = ext4::disk::sparse_super | ext4::disk::metadata_csum;
    return g;
}

std::uint64_t blocks_after(const ext4::Geometry& before, std::uint64_t bytes) {
    const auto after = ext4::grown(before, bytes);
    REQUIRE(after);
    return after->blocks;
}

}  // namespace

TEST_CASE("what is there is never made smaller") {
    CHECK(blocks_after(ordinary(8), 1 << 20) == 8 * 32768);
}

TEST_CASE("a last group that holds its metadata and 50 blocks is added, a smaller one is not") {
    // group 8 has no superblock: two bitmaps and 512 blocks of inodes
    CHECK(blocks_after(ordinary(8), (8 * 32768 + 563) * 4096ull) == 8 * 32768);
    CHECK(blocks_after(ordinary(8), (8 * 32768 + 564) * 4096ull) == 8 * 32768 + 564);
    // group 9 has one, its descriptor block and the reserved ones
    CHECK(blocks_after(ordinary(8), (9 * 32768 + 568) * 4096ull) == 9 * 32768);
    CHECK(blocks_after(ordinary(8), (9 * 32768 + 569) * 4096ull) == 9 * 32768 + 569);
}

TEST_CASE("a last group that is there grows by any number of blocks") {
    auto before = ordinary(8);
    before.blocks -= 32768 - 600;
    CHECK(blocks_after(before, (before.blocks + 1) * 4096) == before.blocks + 1);
}

TEST_CASE("small blocks fill whole pages") {
    auto before = ordinary(8);
    before.block_bytes = 1024;
    before.first_data_block = 1;
    before.blocks_per_group = 8192;
    before.blocks = 8 * 8192 - 1000;
    CHECK(blocks_after(before, (before.blocks + 7) * 1024) == before.blocks + 4);
}

TEST_CASE("descriptors take the reserved blocks first, then go into meta groups") {
    auto after = ext4::grown(ordinary(64), 65 * gib / 8);
    REQUIRE(after);
    CHECK(after->reserved_descriptor_blocks == 2);
    CHECK(after->has(ext4::disk::has_resize_inode));
    after = ext4::grown(ordinary(64), 256 * gib / 8);
    REQUIRE(after);
    CHECK(after->reserved_descriptor_blocks == 0);
    CHECK(after->has(ext4::disk::has_resize_inode));
    CHECK_FALSE(after->has(ext4::disk::meta_bg));
    after = ext4::grown(ordinary(64), 257 * gib / 8);
    REQUIRE(after);
    CHECK_FALSE(after->has(ext4::disk::has_resize_inode));
    CHECK(after->has(ext4::disk::meta_bg));
    CHECK(after->first_meta_block == 4);
    CHECK(after->base_blocks(1) == 5);
    CHECK(after->base_blocks(255) == 0);
    CHECK(after->base_blocks(256) == 1);
}

TEST_CASE("what the features cannot count is refused") {
    auto before = ordinary(8);
    before.incompat = ext4::disk::flex_bg;
    before.descriptor_bytes = 32;
    CHECK(blocks_after(before, 16384 * gib) == 0xffffffff);
    CHECK(ext4::grown(before, 16384 * gib + 4096).error().kind == ErrorKind::unsupported);
    before = ordinary(8);
    before.inodes_per_group = 32768;
    CHECK(ext4::grown(before, 16384 * gib).error().kind == ErrorKind::unsupported);
    CHECK(ext4::grown(ordinary(8), 65536 * gib).error().kind == ErrorKind::unsupported);
    before = ordinary(100000);
    before.reserved_descriptor_blocks = 1024;
    CHECK(ext4::grown(before, 16385 * gib).error().kind == ErrorKind::unsupported);
}

TEST_CASE("copies of all descriptors in every group are refused when they are many") {
    auto before = ordinary(64);
    before.compat = 0;
    before.reserved_descriptor_blocks = 0;
    before.ro_compat = 0;
    CHECK(ext4::grown(before, 128 * gib));
    // new descriptors are in meta groups and not copied; old ones are
    before = ordinary(20000);
    before.compat = 0;
    before.reserved_descriptor_blocks = 0;
    before.ro_compat = 0;
    CHECK(ext4::grown(before, 3000 * gib).error().kind == ErrorKind::unsupported);
}

TEST_CASE("groups are placed with those of their flexible group") {
    const auto g = ordinary(40);
    CHECK(ext4::placement_end(g, 5) == 16);
    CHECK(ext4::placement_end(g, 16) == 32);
    CHECK(ext4::placement_end(g, 32) == 40);
}

TEST_CASE("bitmaps and tables of one kind follow each other") {
    const auto g = ordinary(40);
    const auto places = ext4::place(g, 32, 40);
    REQUIRE(places);
    const std::uint64_t start = 32 * 32768;
    for (std::uint32_t i = 0; i < 8; ++i) {
        CHECK((*places)[i].block_bitmap == start + i);
        CHECK((*places)[i].inode_bitmap == start + 8 + i);
        CHECK((*places)[i].inode_table == start + 16 + 512 * i);
    }
}

TEST_CASE("no table crosses into the next group, nor into what that begins with") {
    auto g = ordinary(40);
    g.inodes_per_group = 32768;  // 2048 blocks of them: 15 tables fit behind the bitmaps
    const auto places = ext4::place(g, 16, 32);
    REQUIRE(places);
    CHECK((*places)[14].inode_table == 16 * 32768 + 32 + 14 * 2048);
    CHECK((*places)[15].inode_table == 17 * 32768);
    const auto with_backup = ext4::place(g, 24, 32);
    REQUIRE(with_backup);
    CHECK((*with_backup)[0].block_bitmap == 24 * 32768);
}

TEST_CASE("groups that do not fit together get their own") {
    auto g = ordinary(40);
    g.inode_bytes = 2048;
    g.inodes_per_group = 32768;  // 16384 blocks of them, half a group
    g.groups = 34;
    g.blocks = 33 * 32768 + 16384 + 10;
    const auto places = ext4::place(g, 32, 34);
    REQUIRE(places);
    CHECK((*places)[0].inode_table == 32 * 32768 + 4);
    g.inode_bytes = 4096;
    CHECK_FALSE(ext4::place(g, 33, 34));
}
