// The chunk tree, which holds what the file system knows of its device: read as a whole, and believed in nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "guest/btrfs/chunks.hpp"
#include "guest/btrfs/superblock.hpp"
#include "guest/btrfs/tree_block.hpp"

namespace qimg::guest::btrfs {

BlockReference chunk_root(const Superblock& superblock);

// Where the item of the one device is.
struct DeviceLeaf {
    std::vector<std::uint64_t> places;  // of the copies of its leaf, on the device
    Bytes content;                      // of the leaf
    std::size_t item_at = 0;            // of a disk::DeviceItem in it
};

// Checks each block (checksum, identity, what leads to it, order and bounds of items, all copies alike), each chunk,
// and that there is one device, the same as in the superblock. corrupt names the first rule that is broken; unsupported:
// more than chunk_tree_blocks_max blocks. Holds as many blocks as the tree has levels.
inline constexpr unsigned chunk_tree_blocks_max = 1 << 16;
Result<DeviceLeaf> read_chunk_tree(const Volume& volume, const Superblock& superblock);

}  // namespace qimg::guest::btrfs
