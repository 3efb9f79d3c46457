// ext2, ext3 and ext4 as they lie on a disk: the superblock, group descriptors and the bits of both, from the kernel's
// "ext4 Data Structures and Algorithms". Only fields that are used have names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"

namespace qimg::guest::ext4::disk {

inline constexpr std::uint64_t superblock_at = 1024;
inline constexpr std::uint16_t superblock_magic = 0xef53;

struct Superblock {
    le32 inodes_count;
    le32 blocks_count_lo;
    le32 r_blocks_count_lo;
    le32 free_blocks_count_lo;
    le32 free_inodes_count;
    le32 first_data_block;
    le32 log_block_size;
    le32 log_cluster_size;
    le32 blocks_per_group;
    le32 clusters_per_group;
    le32 inodes_per_group;
    std::array<std::byte, 12> mount_and_write_time;
    le16 magic;
    le16 state;
    std::array<std::byte, 16> errors_and_checks;
    le32 rev_level;
    std::array<std::byte, 4> default_owner;
    le32 first_ino;
    le16 inode_size;
    le16 block_group_nr;
    le32 feature_compat;
    le32 feature_incompat;
    le32 feature_ro_compat;
    std::array<std::byte, 16> uuid;
    std::array<std::byte, 86> names_and_hints;
    le16 reserved_gdt_blocks;
    std::array<std::byte, 16> journal_uuid;
    le32 journal_inum;
    le32 journal_dev;
    le32 last_orphan;
    std::array<std::byte, 18> hash_seed;
    le16 desc_size;
    le32 default_mount_opts;
    le32 first_meta_bg;
    std::array<std::byte, 72> journal_backup;
    le32 blocks_count_hi;
    le32 r_blocks_count_hi;
    le32 free_blocks_count_hi;
    std::array<std::byte, 12> extra_isize_and_flags;
    le64 mmp_block;
    std::array<std::byte, 4> raid_stripe_width;
    std::uint8_t log_groups_per_flex;
    std::uint8_t checksum_type;
    std::array<std::byte, 210> statistics_and_errors;
    le32 overhead_clusters;
    std::array<le32, 2> backup_bgs;
    std::array<std::byte, 28> encryption;
    le32 checksum_seed;
    std::array<std::byte, 392> rest;
    le32 checksum;
};
static_assert(sizeof(Superblock) == 1024 && alignof(Superblock) == 1);
static_assert(offsetof(Superblock, magic) == 0x38 && offsetof(Superblock, rev_level) == 0x4c);
static_assert(offsetof(Superblock, feature_compat) == 0x5c && offsetof(Superblock, uuid) == 0x68);
static_assert(offsetof(Superblock, reserved_gdt_blocks) == 0xce && offsetof(Superblock, last_orphan) == 0xe8);
static_assert(offsetof(Superblock, desc_size) == 0xfe && offsetof(Superblock, first_meta_bg) == 0x104);
static_assert(offsetof(Superblock, blocks_count_hi) == 0x150 && offsetof(Superblock, mmp_block) == 0x168);
static_assert(offsetof(Superblock, checksum_type) == 0x175 &&
              offsetof(Superblock, overhead_clusters) == 0x248);
static_assert(offsetof(Superblock, checksum_seed) == 0x270 && offsetof(Superblock, checksum) == 0x3fc);

// The first 32 bytes are all there is without the 64bit feature.
struct GroupDescriptor {
    le32 block_bitmap_lo;
    le32 inode_bitmap_lo;
    le32 inode_table_lo;
    le16 free_blocks_count_lo;
    le16 free_inodes_count_lo;
    le16 used_dirs_count_lo;
    le16 flags;
    le32 exclude_bitmap_lo;
    le16 block_bitmap_csum_lo;
    le16 inode_bitmap_csum_lo;
    le16 itable_unused_lo;
    le16 checksum;
    le32 block_bitmap_hi;
    le32 inode_bitmap_hi;
    le32 inode_table_hi;
    le16 free_blocks_count_hi;
    le16 free_inodes_count_hi;
    le16 used_dirs_count_hi;
    le16 itable_unused_hi;
    le32 exclude_bitmap_hi;
    le16 block_bitmap_csum_hi;
    le16 inode_bitmap_csum_hi;
    le32 reserved;
};
static_assert(sizeof(GroupDescriptor) == 64 && alignof(GroupDescriptor) == 1);
static_assert(offsetof(GroupDescriptor, checksum) == 0x1e &&
              offsetof(GroupDescriptor, block_bitmap_hi) == 0x20);
inline constexpr std::uint32_t short_descriptor_bytes = 32;

// The part of an inode that all sizes have.
struct Inode {
    le16 mode;
    std::array<std::byte, 24> owner_and_times;
    le16 links_count;
    le32 blocks_lo;
    le32 flags;
    le32 os_dependent;
    std::array<le32, 15> block;
    std::array<std::byte, 28> rest;
};
static_assert(sizeof(Inode) == 128 && offsetof(Inode, links_count) == 0x1a && offsetof(Inode, block) == 0x28);
inline constexpr std::uint32_t resize_inode = 7;
inline constexpr std::size_t double_indirect = 13;

enum InodeFlag : std::uint32_t { has_extents = 0x80000 };

// What Inode::block is under has_extents, and blocks of it: a header, and entries of the same size.
struct ExtentHeader {
    le16 magic;
    le16 entries;
    le16 max;
    le16 depth;
    le32 generation;
};
struct ExtentIndex {
    le32 block;
    le32 leaf_lo;
    le16 leaf_hi;
    le16 unused;
};
struct Extent {
    le32 block;
    le16 length;
    le16 start_hi;
    le32 start_lo;
};
static_assert(sizeof(ExtentHeader) == 12 && sizeof(ExtentIndex) == 12 && sizeof(Extent) == 12);
inline constexpr std::uint16_t extent_magic = 0xf30a;

// The first block of a journal.
struct JournalSuperblock {
    be32 magic;
    std::array<std::byte, 24> sizes;
    be32 start;
    be32 error;
};
static_assert(offsetof(JournalSuperblock, start) == 0x1c);
inline constexpr std::uint32_t journal_magic = 0xc03b3998;

struct MmpBlock {
    le32 magic;
    le32 sequence;
};
inline constexpr std::uint32_t mmp_magic = 0x004d4d50;
inline constexpr std::uint32_t mmp_clean = 0xff4d4d50;

enum State : std::uint16_t { state_clean = 1, state_errors = 2, state_orphans = 4 };

enum GroupFlag : std::uint16_t { inode_uninit = 1, block_uninit = 2, inode_zeroed = 4 };

enum Compat : std::uint32_t {
    has_journal = 0x4,
    has_resize_inode = 0x10,
    sparse_super2 = 0x200,
    // dir_prealloc, imagic_inodes, has_journal, ext_attr, resize_inode, dir_index, sparse_super2, fast_commit,
    // stable_inodes, orphan_file
    compat_known =
        0x1 | 0x2 | has_journal | 0x8 | has_resize_inode | 0x20 | sparse_super2 | 0x400 | 0x800 | 0x1000,
};

enum Incompat : std::uint32_t {
    needs_recovery = 0x4,
    journal_device = 0x8,
    meta_bg = 0x10,
    wide = 0x80,  // its name is 64bit
    mmp = 0x100,
    flex_bg = 0x200,
    csum_seed = 0x2000,
    // filetype, extents, ea_inode, large_dir, inline_data, encrypt, casefold and those above
    incompat_known = 0x2 | needs_recovery | journal_device | meta_bg | 0x40 | wide | mmp | flex_bg | 0x400 |
                     csum_seed | 0x4000 | 0x8000 | 0x10000 | 0x20000,
};

enum RoCompat : std::uint32_t {
    sparse_super = 0x1,
    gdt_csum = 0x10,
    bigalloc = 0x200,
    metadata_csum = 0x400,
    read_only = 0x1000,
    shared_blocks = 0x4000,
    orphan_present = 0x10000,
    // large_file, huge_file, dir_nlink, extra_isize, quota, project, verity and those above
    ro_compat_known = sparse_super | 0x2 | 0x8 | gdt_csum | 0x20 | 0x40 | 0x100 | bigalloc | metadata_csum |
                      read_only | 0x2000 | shared_blocks | 0x8000 | orphan_present,
};

}  // namespace qimg::guest::ext4::disk
