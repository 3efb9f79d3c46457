// Blocks of trees: nodes, which lead to others, and leaves, which hold items.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "base/bytes.hpp"
#include "guest/btrfs/superblock.hpp"

namespace qimg::guest::btrfs {

using Key = std::tuple<std::uint64_t, std::uint8_t, std::uint64_t>;  // object, type, offset
Key key_of(const disk::Key& raw);

// What is known of a block before it is read.
struct BlockReference {
    std::uint64_t logical = 0;
    std::uint64_t generation = 0;
    std::uint64_t owner = 0;  // the tree
    unsigned level = 0;
    std::optional<Key> first{};  // key; not known of a root
};

struct TreeItem {
    Key key;
    std::span<const std::byte> content;  // in the block
    std::size_t at = 0;                  // where in the block
};

// One that read_tree_block() accepts.
class TreeBlock {
  public:
    TreeBlock(Bytes content, const disk::BlockHeader& header)
        : content_(std::move(content)), header_(header) {}

    bool is_leaf() const { return header_.level == 0; }
    std::uint32_t count() const { return header_.items; }  // of items or pointers
    Key key(std::uint32_t index) const;
    TreeItem item(std::uint32_t index) const;           // of a leaf
    BlockReference pointer(std::uint32_t index) const;  // of a node
    Bytes release() { return std::move(content_); }

  private:
    std::size_t entry_at(std::uint32_t index) const;

    Bytes content_;
    disk::BlockHeader header_;
};

// Reads it from every place in turn, at least one. Checks that all are alike; checksum and identity; that keys go up,
// and that items fill the leaf from its end without gaps. An empty block is corrupt.
Result<TreeBlock> read_tree_block(const Volume& volume, const Superblock& superblock,
                                  const BlockReference& reference, std::span<const std::uint64_t> places);

}  // namespace qimg::guest::btrfs
