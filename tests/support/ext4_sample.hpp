// The metadata of a small file system without files, made from the description of the format alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "guest/ext4/bits.hpp"
#include "guest/ext4/checksum.hpp"
#include "guest/ext4/disk_layout.hpp"
#include "guest/volume.hpp"

namespace qimg::test {

namespace disk = guest::ext4::disk;

// Blocks of 1 KiB, groups of 1024 of them, 16 inodes of 128 bytes in each; what is reserved for descriptors takes a
// resize inode with it. Everything of a group lies in it.
struct Ext4Sample {
    std::uint32_t blocks = 2500;
    std::uint32_t incompat = disk::wide | disk::flex_bg | 0x2 | 0x40;
    std::uint32_t ro_compat = disk::sparse_super | disk::metadata_csum;
    std::uint32_t reserved_descriptor_blocks = 4;

    static constexpr std::uint32_t block_bytes = 1024, group_blocks = 1024, inodes = 16, inode_bytes = 128;
    static constexpr std::uint32_t table_blocks = inodes * inode_bytes / block_bytes;
    static constexpr std::uint32_t resize_root = 100;  // a block

    bool has_checksums() const { return (ro_compat & disk::metadata_csum) != 0; }
    std::uint32_t groups() const { return (blocks - 2) / group_blocks + 1; }
    std::uint32_t descriptor_bytes() const { return (incompat & disk::wide) != 0 ? 64 : 32; }
    std::uint32_t group_start(std::uint32_t group) const { return 1 + group * group_blocks; }
    std::uint32_t blocks_of(std::uint32_t group) const {
        return std::min(group_blocks, blocks - group_start(group));
    }
    // for as few groups as these: 0 and 1, 3, 5, 7, 9 have superblocks
    std::uint32_t base(std::uint32_t group) const {
        return group < 2 || group % 2 == 1 ? 2 + reserved_descriptor_blocks : 0;
    }
    std::uint32_t used(std::uint32_t group) const {
        const bool has_root = group == 0 && reserved_descriptor_blocks > 0;
        return base(group) + 2 + table_blocks + (has_root ? 1 : 0);
    }
    std::uint32_t free_inodes(std::uint32_t group) const { return group == 0 ? inodes - 10 : inodes; }

    disk::Superblock superblock() const {
        disk::Superblock s{};
        std::uint32_t free = 0;
        for (std::uint32_t group = 0; group < groups(); ++group)
            free += blocks_of(group) - used(group);
        s.inodes_count = groups() * inodes;
        s.blocks_count_lo = blocks;
        s.r_blocks_count_lo = blocks / 20;
        s.free_blocks_count_lo = free;
        s.free_inodes_count = groups() * inodes - 10;
        s.first_data_block = 1;
        s.blocks_per_group = s.clusters_per_group = group_blocks;
        s.inodes_per_group = inodes;
        s.magic = disk::superblock_magic;
        s.state = disk::state_clean;
        s.rev_level = 1;
        s.first_ino = 11;
        s.inode_size = inode_bytes;
        s.feature_compat = reserved_descriptor_blocks > 0 ? std::uint32_t{disk::has_resize_inode} : 0;
        s.feature_incompat = incompat;
        s.feature_ro_compat = ro_compat;
        s.uuid.fill(std::byte{7});
        s.reserved_gdt_blocks = static_cast<std::uint16_t>(reserved_descriptor_blocks);
        if ((incompat & disk::wide) != 0) s.desc_size = 64;
        if ((incompat & disk::flex_bg) != 0) s.log_groups_per_flex = 2;
        s.checksum_type = has_checksums() ? 1 : 0;
        s.overhead_clusters = 77;
        return s;
    }

    void write_to(guest::Volume& volume) const {
        REQUIRE(groups() <= block_bytes / descriptor_bytes());
        std::vector<std::byte> descriptors(block_bytes);
        for (std::uint32_t group = 0; group < groups(); ++group)
            write_group(volume, group, descriptors);
        put(volume, 2 * block_bytes, descriptors);
        if (reserved_descriptor_blocks > 0) write_resize_inode(volume);
        write_superblock(volume, superblock());
    }

    // With the right checksum.
    static void write_superblock(guest::Volume& volume, const disk::Superblock& superblock) {
        std::vector<std::byte> bytes(sizeof superblock);
        store(std::span(bytes), superblock);
        constexpr std::size_t at = offsetof(disk::Superblock, checksum);
        if ((superblock.feature_ro_compat & disk::metadata_csum) != 0)
            store(std::span(bytes).subspan(at), le32(guest::ext4::crc32c(~0u, std::span(bytes).first(at))));
        put(volume, disk::superblock_at, bytes);
    }

    std::uint32_t seed() const { return guest::ext4::crc32c(~0u, superblock().uuid); }

    // With the right checksum, in the first copy.
    void write_descriptor(guest::Volume& volume, std::uint32_t group, disk::GroupDescriptor raw) const {
        std::vector<std::byte> bytes(sizeof raw);
        seal(group, raw);
        store(std::span(bytes), raw);
        put(volume, 2 * block_bytes + group * descriptor_bytes(), std::span(bytes).first(descriptor_bytes()));
    }

    static disk::GroupDescriptor descriptor_at(const guest::Volume& volume, std::uint64_t place) {
        std::vector<std::byte> bytes(sizeof(disk::GroupDescriptor));
        REQUIRE(volume.read(place, bytes));
        return load<disk::GroupDescriptor>(bytes);
    }

    static void put(guest::Volume& volume, std::uint64_t at, std::span<const std::byte> bytes) {
        REQUIRE(volume.write(at, bytes));
    }

  private:
    void seal(std::uint32_t group, disk::GroupDescriptor& raw) const {
        if (!has_checksums()) return;
        raw.checksum = 0;
        std::vector<std::byte> bytes(4 + sizeof raw);
        store(std::span(bytes), le32(group));
        store(std::span(bytes).subspan(4), raw);
        raw.checksum = static_cast<std::uint16_t>(
            guest::ext4::crc32c(seed(), std::span(bytes).first(4 + descriptor_bytes())));
    }

    void write_group(guest::Volume& volume, std::uint32_t group, std::span<std::byte> descriptors) const {
        std::vector<std::byte> blocks_used(block_bytes), inodes_used(block_bytes);
        guest::ext4::fill_bits(blocks_used, 0, base(group) + 2 + table_blocks, true);
        if (group == 0 && reserved_descriptor_blocks > 0)
            guest::ext4::fill_bits(blocks_used, resize_root - 1, resize_root, true);
        guest::ext4::fill_bits(blocks_used, blocks_of(group), 8 * block_bytes, true);
        guest::ext4::fill_bits(inodes_used, 0, inodes - free_inodes(group), true);
        guest::ext4::fill_bits(inodes_used, inodes, 8 * block_bytes, true);
        disk::GroupDescriptor raw{};
        const std::uint32_t first = group_start(group) + base(group);
        raw.block_bitmap_lo = first;
        raw.inode_bitmap_lo = first + 1;
        raw.inode_table_lo = first + 2;
        raw.free_blocks_count_lo = static_cast<std::uint16_t>(blocks_of(group) - used(group));
        raw.free_inodes_count_lo = static_cast<std::uint16_t>(free_inodes(group));
        if (has_checksums()) {
            const std::uint32_t blocks_sum =
                guest::ext4::crc32c(seed(), std::span(blocks_used).first(group_blocks / 8));
            const std::uint32_t inodes_sum =
                guest::ext4::crc32c(seed(), std::span(inodes_used).first(inodes / 8));
            raw.block_bitmap_csum_lo = static_cast<std::uint16_t>(blocks_sum);
            raw.block_bitmap_csum_hi = static_cast<std::uint16_t>(blocks_sum >> 16);
            raw.inode_bitmap_csum_lo = static_cast<std::uint16_t>(inodes_sum);
            raw.inode_bitmap_csum_hi = static_cast<std::uint16_t>(inodes_sum >> 16);
        }
        put(volume, std::uint64_t{first} * block_bytes, blocks_used);
        put(volume, std::uint64_t{first + 1} * block_bytes, inodes_used);
        seal(group, raw);
        std::vector<std::byte> bytes(sizeof raw);
        store(std::span(bytes), raw);
        std::ranges::copy(std::span(bytes).first(descriptor_bytes()),
                          descriptors.subspan(std::size_t{group} * descriptor_bytes()).begin());
    }

    void write_resize_inode(guest::Volume& volume) const {
        std::vector<std::byte> root(block_bytes);
        for (std::uint32_t i = 0; i < reserved_descriptor_blocks; ++i) {
            const std::uint32_t block = 3 + i;
            store(std::span(root).subspan((1 + i) * 4), le32(block));
            std::vector<std::byte> copies(block_bytes);
            std::size_t place = 0;
            for (std::uint32_t group = 1; group < groups(); ++group) {
                if (base(group) == 0) continue;
                store(std::span(copies).subspan(place), le32(group_start(group) + block - 1));
                place += 4;
            }
            put(volume, std::uint64_t{block} * block_bytes, copies);
        }
        put(volume, std::uint64_t{resize_root} * block_bytes, root);
        disk::Inode inode{};
        inode.mode = 0100600;
        inode.links_count = 1;
        inode.block[disk::double_indirect] = resize_root;
        std::vector<std::byte> bytes(sizeof inode);
        store(std::span(bytes), inode);
        if (has_checksums()) {
            // of the inode's number, its generation (zero), and the inode; half of it fits where there is no room for more
            std::vector<std::byte> number(8);
            store(std::span(number), le32(disk::resize_inode));
            const std::uint32_t sum = guest::ext4::crc32c(guest::ext4::crc32c(seed(), number), bytes);
            constexpr std::size_t checksum_at = 0x7c;
            store(std::span(bytes).subspan(checksum_at), le16(static_cast<std::uint16_t>(sum)));
        }
        const std::uint64_t table = group_start(0) + base(0) + 2;
        put(volume, table * block_bytes + (disk::resize_inode - 1) * inode_bytes, bytes);
    }
};

}  // namespace qimg::test
