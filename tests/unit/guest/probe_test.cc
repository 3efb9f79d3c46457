// What superblocks tell; tests/interop/guest asks the programs that write them.
// SPDX-License-Identifier: Apache-2.0
#include "guest/probe.hpp"

#include <doctest/doctest.h>

#include "guest/superblocks.hpp"
#include "support/storage_volume.hpp"

using namespace qimg;
using namespace qimg::guest;

namespace {

template <class Block>
std::optional<FileSystem> probe_block(std::uint64_t at, const Block& block, std::uint64_t bytes = MiB) {
    auto file = memory_storage();
    REQUIRE(file->write(HostOffset(at), std::as_bytes(std::span(&block, 1))));
    REQUIRE(file->resize(bytes));
    const test::StorageVolume volume(std::move(file));
    return probe(volume, 0, volume.size()).value();
}

disk::ExtSuperblock ext() {
    disk::ExtSuperblock block{};
    block.magic = disk::ext_magic;
    block.blocks_low = 100;
    block.log_block_kib = 2;
    return block;
}

}  // namespace

TEST_CASE("ext2, ext3 and ext4 differ in their features") {
    disk::ExtSuperblock block = ext();
    block.label = {'a', '\x1b', 0, 'b'};
    auto found = probe_block(disk::ext_superblock_at, block);
    REQUIRE(found);
    CHECK(found->content == Content::ext2);
    CHECK(found->label == "a\\x1b");
    CHECK(found->bytes == 100 * 4096);
    block.compatible = disk::ext_has_journal;
    CHECK(probe_block(disk::ext_superblock_at, block)->content == Content::ext3);
    block.incompatible = 0x40;
    CHECK(probe_block(disk::ext_superblock_at, block)->content == Content::ext4);
    block.incompatible = disk::ext_journal_device;
    CHECK_FALSE(probe_block(disk::ext_superblock_at, block));
}

TEST_CASE("lengths that cannot be are not told") {
    disk::ExtSuperblock block = ext();
    block.incompatible = disk::ext_64bit;
    block.blocks_high = 0xffffffff;
    CHECK(probe_block(disk::ext_superblock_at, block)->bytes == std::nullopt);
    block.log_block_kib = 40;
    CHECK_FALSE(probe_block(disk::ext_superblock_at, block));
}

TEST_CASE("the number of clusters tells FAT12 from FAT16") {
    disk::BootSector sector{};
    sector.sector_bytes = 512;
    sector.cluster_sectors = 1;
    sector.reserved_sectors = 1;
    sector.fats = 2;
    sector.media = 0xf8;
    sector.fat_sectors_16 = 16;
    sector.signature = {0x55, 0xaa};
    sector.sectors_16 = 4084 + 33;
    CHECK(probe_block(0, sector)->content == Content::fat12);
    sector.sectors_16 = 4085 + 33;
    CHECK(probe_block(0, sector)->content == Content::fat16);
    sector.sectors_16 = 33;
    CHECK_FALSE(probe_block(0, sector));
    sector.sector_bytes = 0;
    CHECK_FALSE(probe_block(0, sector));
}

TEST_CASE("a superblock that the volume cuts off is none") {
    CHECK_FALSE(probe_block(disk::ext_superblock_at, ext(), disk::ext_superblock_at + 20));
    auto file = memory_storage();
    const test::StorageVolume empty(std::move(file));
    CHECK_FALSE(probe(empty, 0, 0).value());
}
