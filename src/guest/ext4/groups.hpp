// The groups of a file system as their descriptors tell of them, and which blocks metadata takes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "guest/ext4/geometry.hpp"

namespace qimg::guest::ext4 {

struct Group {
    std::uint64_t block_bitmap = 0;
    std::uint64_t inode_bitmap = 0;
    std::uint64_t inode_table = 0;
    std::uint32_t free_blocks = 0;
    std::uint32_t free_inodes = 0;
    std::uint32_t block_bitmap_checksum = 0;
    std::uint32_t inode_bitmap_checksum = 0;
    std::uint16_t flags = 0;  // none where descriptors have none

    bool is(disk::GroupFlag flag) const { return (flags & flag) != 0; }
};

// Blocks that are a group's metadata.
struct Claim {
    BlockRun run;
    std::uint32_t group = 0;
};

// All descriptors, of their first copies. corrupt when a checksum is wrong, when what a descriptor leads to lies
// outside the file system (without flex_bg: outside the group), or when more is free than there is.
Result<std::vector<Group>> read_groups(const Volume& volume, const Geometry& geometry);

// Superblocks, descriptors, bitmaps and inode tables of all groups, in order. corrupt when two of them overlap.
Result<std::vector<Claim>> claims_of(const Geometry& geometry, std::span<const Group> groups);

// The claims that reach into the blocks from `start` to `end`, as part of those that claims_of() returned.
std::span<const Claim> claims_within(std::span<const Claim> claims, std::uint64_t start, std::uint64_t end);

// Whether a bitmap has the checksum that its descriptor tells; true without metadata_csum.
bool has_checksum(const Geometry& geometry, std::span<const std::byte> bits, std::uint32_t expected);

}  // namespace qimg::guest::ext4
