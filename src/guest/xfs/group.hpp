// An allocation group's headers and its free space, as they are read: each number is checked before anything uses it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "guest/volume.hpp"
#include "guest/xfs/geometry.hpp"
#include "qimg/error.hpp"

namespace qimg::guest::xfs {

struct GroupHeaders {
    disk::FreeSpace space;
    disk::Inodes inodes;
};

struct FreeExtent {
    std::uint32_t start = 0;  // a block of the group
    std::uint32_t count = 0;
    std::uint64_t end() const { return std::uint64_t{start} + count; }
    bool operator==(const FreeExtent&) const = default;
};

struct PlacedBlock {
    std::uint32_t block = 0;
    std::uint64_t lsn = 0;
};

// One of the two trees of free space.
struct FreeTree {
    std::vector<FreeExtent> extents;               // in the tree's order
    std::vector<std::vector<PlacedBlock>> levels;  // its blocks from left to right; leaves are level 0
};

enum class FreeOrder { by_start, by_count };

// What a tree of free space may hold for its group to be grown: it bounds memory to some 40 MiB.
inline constexpr std::size_t free_extents_max = 1u << 20;

inline bool is_before(FreeOrder order, const FreeExtent& a, const FreeExtent& b) {
    if (order == FreeOrder::by_start || a.count == b.count) return a.start < b.start;
    return a.count < b.count;
}

// Of blocks of the trees of free space.
inline std::uint32_t leaf_records(const Geometry& g) {
    return (g.block_bytes - std::uint32_t{sizeof(disk::TreeBlock)}) / std::uint32_t{sizeof(disk::Extent)};
}
inline std::uint32_t node_records(const Geometry& g) {
    return (g.block_bytes - std::uint32_t{sizeof(disk::TreeBlock)}) /
           std::uint32_t{sizeof(disk::Extent) + sizeof(be32)};
}

// The two headers with counts; each is whole, and says what the geometry does.
Result<GroupHeaders> read_headers(const Volume& volume, const Geometry& geometry, std::uint32_t group);

// The blocks that the group keeps for its trees, in the order in which they are used.
Result<std::vector<std::uint32_t>> read_free_list(const Volume& volume, const Geometry& geometry,
                                                  const disk::FreeSpace& header);

// Blocks, keys and order are as the format has them. unsupported when there are more than free_extents_max.
Result<FreeTree> read_free_tree(const Volume& volume, const Geometry& geometry, const disk::FreeSpace& header,
                                FreeOrder order);

struct FreeSpace {
    FreeTree by_start, by_count;
    std::vector<std::uint32_t> list;
};

// Both trees say the same, the header has their sums, and none of the group's own blocks is free or used twice.
Result<FreeSpace> read_free_space(const Volume& volume, const Geometry& geometry,
                                  const GroupHeaders& headers);

// A block of any short btree, its header checked. `level` and the group are what it must say.
Result<disk::TreeBlock> read_tree_block(const Volume& volume, const Geometry& geometry, std::uint32_t group,
                                        std::uint32_t block, std::uint32_t magic, std::uint32_t level,
                                        std::span<std::byte> bytes);

}  // namespace qimg::guest::xfs
