// btrfs as it lies on a disk: superblock, tree blocks, and the items that tell about devices and chunks, from the
// kernel's "btrfs: On-disk Format". Only fields that are used have names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"

namespace qimg::guest::btrfs::disk {

using Uuid = std::array<std::byte, 16>;
template <std::size_t Bytes>
using Gap = std::array<std::byte, Bytes>;

// At the front of superblocks and tree blocks: of all that follows it; zero where the type has fewer bytes.
inline constexpr std::size_t checksum_bytes = 32;

// Copies lie where the device is long enough for them.
inline constexpr std::array<std::uint64_t, 3> superblocks_at = {0x1'0000, 0x400'0000, 0x40'0000'0000};
inline constexpr std::uint32_t superblock_bytes = 4096;
inline constexpr std::size_t system_chunks_bytes_max = 2048;

struct Key {
    le64 object;
    std::uint8_t type;
    le64 offset;
};
static_assert(sizeof(Key) == 17 && alignof(Key) == 1);

enum KeyType : std::uint8_t { root_item = 132, device_item = 216, chunk_item = 228, replacement_item = 250 };
inline constexpr std::uint64_t replacement_object = 0;
inline constexpr std::uint64_t devices_object = 1;
inline constexpr std::uint64_t chunks_object = 256;

// Numbers of trees.
inline constexpr std::uint64_t root_tree = 1;
inline constexpr std::uint64_t chunk_tree = 3;
inline constexpr std::uint64_t device_tree = 4;

struct DeviceItem {
    le64 id;
    le64 total_bytes;
    le64 bytes_used;
    Gap<42> geometry_and_hints;
    Uuid uuid;
    Uuid fsid;
};
static_assert(sizeof(DeviceItem) == 98 && offsetof(DeviceItem, uuid) == 66);

struct Stripe {
    le64 device;
    le64 offset;
    Uuid device_uuid;
};
static_assert(sizeof(Stripe) == 32);

// Stripes follow.
struct Chunk {
    le64 length;
    le64 owner;
    le64 stripe_length;
    le64 type;
    Gap<12> alignment;
    le16 stripes;
    le16 sub_stripes;
};
static_assert(sizeof(Chunk) == 48 && offsetof(Chunk, stripes) == 44);
inline constexpr std::uint64_t stripe_length = 64 * 1024;

enum ChunkType : std::uint64_t {
    data = 0x1,
    system = 0x2,
    metadata = 0x4,
    raid0 = 0x8,
    dup = 0x20,
    purposes = data | system | metadata,
};

// Of a tree, in the tree of roots; newer ones are longer.
struct RootItem {
    Gap<160> inode;
    le64 generation;
    Gap<8> directory;
    le64 logical;
    Gap<54> sizes_and_progress;
    std::uint8_t level;
};
static_assert(sizeof(RootItem) == 239 && offsetof(RootItem, logical) == 176);

// In the tree of devices; newer ones may be longer.
struct ReplacementItem {
    Gap<32> source_and_progress;
    le64 state;
    Gap<32> times_and_errors;
};
static_assert(sizeof(ReplacementItem) == 72);
enum ReplacementState : std::uint64_t { never_started = 0, finished = 2, cancelled = 3 };

// What trees were at a commit.
struct RootBackup {
    Gap<16> tree_root;
    le64 chunk_root;
    Gap<72> other_roots;
    le64 total_bytes;
    Gap<64> rest;
};
static_assert(sizeof(RootBackup) == 168 && offsetof(RootBackup, total_bytes) == 96);

struct Superblock {
    Gap<checksum_bytes> checksum;
    Uuid fsid;
    le64 place;  // its own
    le64 flags;
    std::array<char, 8> magic;
    le64 generation;
    le64 root;
    le64 chunk_root;
    le64 log_root;
    Gap<8> log_generation;
    le64 total_bytes;
    le64 bytes_used;
    Gap<8> root_directory;
    le64 devices;
    le32 sector_bytes;
    le32 node_bytes;
    le32 leaf_bytes;
    Gap<4> stripe_bytes;
    le32 system_chunks_bytes;
    le64 chunk_root_generation;
    le64 compat_flags;
    le64 compat_ro_flags;
    le64 incompat_flags;
    le16 checksum_type;
    std::uint8_t root_level;
    std::uint8_t chunk_root_level;
    std::uint8_t log_root_level;
    DeviceItem device;
    Gap<256> label;
    Gap<16> cache_generations;
    Uuid metadata_uuid;
    Gap<224> reserved;
    std::array<std::byte, system_chunks_bytes_max> system_chunks;
    std::array<RootBackup, 4> backups;
    Gap<565> padding;
};
static_assert(sizeof(Superblock) == superblock_bytes && alignof(Superblock) == 1);
static_assert(offsetof(Superblock, chunk_root) == 88 && offsetof(Superblock, devices) == 136);
static_assert(offsetof(Superblock, incompat_flags) == 188 && offsetof(Superblock, device) == 201);
static_assert(offsetof(Superblock, metadata_uuid) == 571 && offsetof(Superblock, system_chunks) == 811);
static_assert(offsetof(Superblock, backups) == 2859);
inline constexpr std::array<char, 8> superblock_magic = {'_', 'B', 'H', 'R', 'f', 'S', '_', 'M'};

enum SuperblockFlag : std::uint64_t {
    written = 0x1,
    has_errors = 0x4,
    seeding = 1ull << 32,
    metadump = 1ull << 33,
    metadump_v2 = 1ull << 34,
};

enum Incompat : std::uint64_t {
    has_metadata_uuid = 0x400,
    // mixed_backref, default_subvol, mixed_groups, compress_lzo, compress_zstd, big_metadata, extended_iref, raid56,
    // skinny_metadata, no_holes, metadata_uuid, raid1c34, simple_quota; not zoned, extent_tree_v2, raid_stripe_tree
    incompat_known = 0xfff | 0x10000,
};

// free_space_tree, free_space_tree_valid, verity, block_group_tree
inline constexpr std::uint64_t compat_ro_known = 0xf;

struct BlockHeader {
    Gap<checksum_bytes> checksum;
    Uuid fsid;
    le64 logical;  // its own address
    le64 flags;
    Uuid chunk_tree_uuid;
    le64 generation;
    le64 owner;
    le32 items;
    std::uint8_t level;
};
static_assert(sizeof(BlockHeader) == 101 && offsetof(BlockHeader, items) == 96);
inline constexpr unsigned level_max = 7;
inline constexpr std::uint64_t block_written = 0x1;

// In a leaf, level 0; the places of items count from behind the header.
struct Item {
    Key key;
    le32 place;
    le32 bytes;
};
static_assert(sizeof(Item) == 25);

// In a node, of the level above that of the block it leads to.
struct BlockPointer {
    Key key;  // the first one there
    le64 logical;
    le64 generation;
};
static_assert(sizeof(BlockPointer) == 33);

}  // namespace qimg::guest::btrfs::disk
