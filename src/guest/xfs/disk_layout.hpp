// XFS of version 5 as it lies on a disk: superblock, headers of allocation groups, blocks of their btrees, records of
// the log, from "XFS Algorithms & Data Structures". Only fields that are used have names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"

namespace qimg::guest::xfs::disk {

using Uuid = std::array<std::byte, 16>;
template <std::size_t Bytes>
using Gap = std::array<std::byte, Bytes>;

inline constexpr std::uint32_t no_block = ~0u;  // NULLAGBLOCK, and no inode
inline constexpr std::uint64_t no_lsn = ~0ull;

// The first sector of each allocation group has one; that of the first group counts.
struct Superblock {
    be32 magic;
    be32 block_bytes;
    be64 blocks;
    be64 realtime_blocks;
    be64 realtime_extents;
    Uuid uuid;
    be64 log_start;  // a block, of group and place within it; 0: on another device
    Gap<28> inodes_and_extents;
    be32 group_blocks;
    be32 groups;
    be32 realtime_bitmap_blocks;
    be32 log_blocks;
    be16 version;
    be16 sector_bytes;
    be16 inode_bytes;
    be16 block_inodes;
    Gap<12> name;
    std::uint8_t block_log;
    std::uint8_t sector_log;
    std::uint8_t inode_log;
    std::uint8_t block_inodes_log;
    std::uint8_t group_blocks_log;  // rounded up
    std::uint8_t realtime_extents_log;
    std::uint8_t in_progress;
    std::uint8_t inodes_percent;
    be64 inodes;
    be64 free_inodes;
    be64 free_blocks;
    be64 realtime_free_extents;
    Gap<16> quota_inodes;
    be16 quota_flags;
    std::uint8_t flags;
    std::uint8_t shared_version;
    Gap<12> alignment;
    std::uint8_t directory_block_log;
    std::uint8_t log_sector_log;
    be16 log_sector_bytes;
    be32 log_stripe_bytes;
    be32 features2;
    be32 bad_features2;
    be32 compat;
    be32 ro_compat;
    be32 incompat;
    be32 log_incompat;
    le32 checksum;
    be32 sparse_inode_alignment;
    be64 project_quota_inode;
    be64 lsn;
    Uuid metadata_uuid;
};
static_assert(offsetof(Superblock, log_start) == 48 && offsetof(Superblock, group_blocks) == 84);
static_assert(offsetof(Superblock, version) == 100 && offsetof(Superblock, block_log) == 120);
static_assert(offsetof(Superblock, inodes) == 128 && offsetof(Superblock, features2) == 200);
static_assert(offsetof(Superblock, checksum) == 224 && sizeof(Superblock) == 264);

inline constexpr std::uint32_t superblock_magic = 0x58465342;  // "XFSB"

// of version
inline constexpr std::uint16_t version_mask = 0xf;
inline constexpr std::uint16_t version_shared = 0x200;
inline constexpr std::uint16_t version_log2 = 0x400;
inline constexpr std::uint16_t version_borg = 0x4000;
inline constexpr std::uint16_t version_more = 0x8000;  // features2 counts
// of features2: lazy counts, attr2, 32-bit project ids, checksums, file types
inline constexpr std::uint32_t features2_lazy_counts = 0x2;
inline constexpr std::uint32_t features2_checksums = 0x100;
inline constexpr std::uint32_t features2_known = 0x2 | 0x8 | 0x80 | 0x100 | 0x200;
inline constexpr std::uint8_t flag_read_only = 1;

enum RoCompat : std::uint32_t {
    free_inode_tree = 0x1,
    reverse_map = 0x2,
    reflink = 0x4,
    inode_tree_counts = 0x8,
    ro_compat_known = 0xf,
};
enum Incompat : std::uint32_t {
    file_type = 0x1,
    sparse_inodes = 0x2,
    has_metadata_uuid = 0x4,
    big_time = 0x8,
    needs_repair = 0x10,
    many_extents = 0x20,
    incompat_known = 0x3f,
};

// "AG Free Space Block": the group's second sector.
struct FreeSpace {
    be32 magic;
    be32 version;
    be32 group;
    be32 blocks;
    be32 by_start_root;
    be32 by_count_root;
    be32 reverse_map_root;
    be32 by_start_levels;
    be32 by_count_levels;
    be32 reverse_map_levels;
    be32 list_first;  // an index into FreeList's blocks
    be32 list_last;
    be32 list_count;
    be32 free_blocks;
    be32 longest;
    be32 tree_blocks;  // of the trees of free space and of the reverse map, but for their roots
    Uuid uuid;
    be32 reverse_map_blocks;
    be32 reference_count_blocks;
    be32 reference_count_root;
    be32 reference_count_levels;
    Gap<112> spare;
    be64 lsn;
    le32 checksum;
    be32 spare2;
};
static_assert(offsetof(FreeSpace, uuid) == 64 && offsetof(FreeSpace, checksum) == 216);
static_assert(sizeof(FreeSpace) == 224);

inline constexpr std::uint32_t free_space_magic = 0x58414746;  // "XAGF"

// "AG Inode Management": the third sector.
struct Inodes {
    be32 magic;
    be32 version;
    be32 group;
    be32 blocks;
    be32 count;
    be32 root;
    be32 levels;
    be32 free_count;
    be32 newest;
    be32 directory;
    std::array<be32, 64> unlinked;
    Uuid uuid;
    le32 checksum;
    be32 padding;
    be64 lsn;
    be32 free_root;
    be32 free_levels;
    be32 tree_blocks;
    be32 free_tree_blocks;
};
static_assert(offsetof(Inodes, uuid) == 296 && offsetof(Inodes, checksum) == 312 && sizeof(Inodes) == 344);

inline constexpr std::uint32_t inodes_magic = 0x58414749;  // "XAGI"

// "AG Free List": the fourth sector; block numbers follow to its end.
struct FreeList {
    be32 magic;
    be32 group;
    Uuid uuid;
    be64 lsn;
    le32 checksum;
};
static_assert(sizeof(FreeList) == 36);

inline constexpr std::uint32_t free_list_magic = 0x5841464c;  // "XAFL"

// "Short Format B+Trees"; of version 5.
struct TreeBlock {
    be32 magic;
    be16 level;  // 0: leaves
    be16 count;
    be32 left;
    be32 right;
    be64 place;  // in units of 512 bytes on the volume
    be64 lsn;
    Uuid uuid;
    be32 group;
    le32 checksum;
};
static_assert(sizeof(TreeBlock) == 56);

inline constexpr std::uint64_t place_unit = 512;
inline constexpr std::uint32_t by_start_magic = 0x41423342;         // "AB3B"
inline constexpr std::uint32_t by_count_magic = 0x41423343;         // "AB3C"
inline constexpr std::uint32_t inode_tree_magic = 0x49414233;       // "IAB3"
inline constexpr std::uint32_t free_inode_magic = 0x46494233;       // "FIB3"
inline constexpr std::uint32_t reverse_map_magic = 0x524d4233;      // "RMB3"
inline constexpr std::uint32_t reference_count_magic = 0x52334643;  // "R3FC"

// A record of both trees of free space, and a key in their nodes.
struct Extent {
    be32 start;
    be32 count;
};
static_assert(sizeof(Extent) == 8);

struct ReverseMapping {
    be32 start;
    be32 count;
    be64 owner;
    be64 offset;
};
static_assert(sizeof(ReverseMapping) == 24);

inline constexpr std::uint64_t owner_headers = ~0ull - 2;
inline constexpr std::uint64_t owner_group = ~0ull - 4;  // trees of free space and of the reverse map
inline constexpr std::uint64_t owner_inode_trees = ~0ull - 5;
inline constexpr std::uint64_t owner_reference_counts = ~0ull - 7;

// The log: units of 512 bytes. Each begins with its cycle, but for the first one of a record.
inline constexpr std::uint32_t log_unit = 512;
inline constexpr std::uint32_t log_record_magic = 0xfeedbabe;

struct LogRecord {
    be32 magic;
    be32 cycle;
    be32 version;
    be32 bytes;  // behind the header
    be64 lsn;    // cycle and place
    be64 tail_lsn;
    le32 checksum;
    be32 previous;
    be32 operations;
    std::array<be32, 64> cycle_data;
    be32 format;
    Uuid uuid;
    be32 buffer_bytes;
};
static_assert(offsetof(LogRecord, format) == 300 && sizeof(LogRecord) == 324);

struct LogOperation {
    be32 transaction;
    be32 bytes;
    std::uint8_t client;
    std::uint8_t flags;
    be16 reserved;
};
static_assert(sizeof(LogOperation) == 12);

inline constexpr std::uint8_t log_unmount = 0x20;

}  // namespace qimg::guest::xfs::disk
