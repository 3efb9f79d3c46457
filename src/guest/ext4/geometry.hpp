// Where the parts of an ext2, ext3 or ext4 file system are: every number of the superblock is checked once, here, and
// every conversion between groups, blocks and bytes is asked of this.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "guest/ext4/disk_layout.hpp"
#include "guest/volume.hpp"
#include "qimg/error.hpp"

namespace qimg::guest::ext4 {

// Blocks of the file system, one behind the other.
struct BlockRun {
    std::uint64_t start = 0;
    std::uint32_t count = 0;
    std::uint64_t end() const { return start + count; }
};

struct Geometry {
    std::uint32_t block_bytes = 0;  // 1024, 2048 or 4096
    std::uint32_t first_data_block = 0;
    std::uint32_t blocks_per_group = 0;
    std::uint32_t inodes_per_group = 0;
    std::uint32_t inode_bytes = 0;
    std::uint32_t descriptor_bytes = 0;  // 32 or 64
    std::uint32_t groups_per_flex = 1;
    std::uint64_t blocks = 0;
    std::uint32_t groups = 0;
    // Descriptor blocks from this one on are spread over the groups that they describe; those before it follow each
    // superblock. All of them without meta_bg.
    std::uint32_t first_meta_block = 0;
    std::uint32_t reserved_descriptor_blocks = 0;
    std::array<std::uint32_t, 2> backup_groups{};  // with sparse_super2
    std::uint32_t compat = 0;
    std::uint32_t incompat = 0;
    std::uint32_t ro_compat = 0;
    std::array<std::byte, 16> uuid{};
    std::uint32_t checksum_seed = 0;  // of CRC-32C

    bool has(disk::Compat bit) const { return (compat & bit) != 0; }
    bool has(disk::Incompat bit) const { return (incompat & bit) != 0; }
    bool has(disk::RoCompat bit) const { return (ro_compat & bit) != 0; }
    // Descriptors have checksums and flags.
    bool has_flags() const { return has(disk::metadata_csum) || has(disk::gdt_csum); }

    std::uint64_t bytes() const { return blocks * block_bytes; }
    std::uint64_t group_start(std::uint32_t group) const {
        return first_data_block + std::uint64_t{group} * blocks_per_group;
    }
    std::uint32_t group_blocks(std::uint32_t group) const;  // fewer in the last one
    std::uint32_t group_of(std::uint64_t block) const {
        return static_cast<std::uint32_t>((block - first_data_block) / blocks_per_group);
    }
    std::uint32_t inode_table_blocks() const;
    std::uint32_t descriptors_per_block() const { return block_bytes / descriptor_bytes; }
    std::uint32_t descriptor_blocks() const { return (groups - 1) / descriptors_per_block() + 1; }
    // Descriptor blocks that follow each superblock.
    std::uint32_t legacy_descriptor_blocks() const {
        return has(disk::meta_bg) ? first_meta_block : descriptor_blocks();
    }
    bool has_superblock(std::uint32_t group) const;
    // The group's copies of the superblock and of descriptors, with what is reserved for more: at its start.
    std::uint32_t base_blocks(std::uint32_t group) const;
    // The block of the first copy of the numbered descriptor block.
    std::uint64_t descriptor_block(std::uint32_t number) const;
};

// Groups that a file system may have here; it bounds memory and work (16 TiB of 4 KiB blocks have half of it).
inline constexpr std::uint32_t groups_max = 1u << 18;

struct Superblock {
    disk::Superblock raw;
    Geometry geometry;
};

// corrupt: not such a file system, or a rule of it broken, the checksum included; unsupported: a feature or size that
// is not known here. The state is not looked at.
Result<Superblock> read_superblock(const Volume& volume);

// As mounting it read-write would be refused or would change it first: in_use when it was not unmounted cleanly, or
// when another machine may have it mounted; corrupt when it says that it has errors; unsupported when it may not be
// written or is no file system of its own.
// Looks at the superblock, at the multi-mount block and at the journal's first one.
Result<void> check_ready(const Volume& volume, const Superblock& superblock);

inline std::uint64_t joined(std::uint32_t low, std::uint32_t high) {
    return std::uint64_t{high} << 32 | low;
}

}  // namespace qimg::guest::ext4
