// Walks the tree in the order of its keys, which never go back: so no block comes twice.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/chunk_tree.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/try.hpp"
#include "guest/btrfs/tree_block.hpp"

namespace qimg::guest::btrfs {

namespace {

class ChunkTree {
  public:
    ChunkTree(const Volume& volume, const Superblock& superblock, std::vector<Chunk> system_chunks)
        : volume_(volume), superblock_(superblock), system_chunks_(std::move(system_chunks)) {}

    Result<DeviceLeaf> walk() {
        TRY(visit(chunk_root(superblock_)));
        if (!device_) return broken("its chunk tree has no device");
        return std::move(*device_);
    }

  private:
    Result<std::vector<std::uint64_t>> places_of(std::uint64_t logical) const;
    Result<void> visit(const BlockReference& reference);
    Result<void> visit_leaf(TreeBlock block, std::vector<std::uint64_t> places);
    Result<void> take_item(const TreeItem& item);
    Result<void> take_device(const TreeItem& item) const;
    Result<void> take_chunk(const TreeItem& item);

    const Volume& volume_;
    const Superblock& superblock_;
    std::vector<Chunk> system_chunks_;
    unsigned blocks_ = 0;
    std::optional<Key> last_;
    std::uint64_t chunks_end_ = 0;  // where the last one's addresses end
    std::optional<DeviceLeaf> device_;
};

// Chunks begin where nodes may begin: so blocks either are the same or lie apart.
Result<std::vector<std::uint64_t>> ChunkTree::places_of(std::uint64_t logical) const {
    const std::uint32_t node_bytes = superblock_.raw.node_bytes;
    const Chunk* const chunk = find_chunk(system_chunks_, logical, node_bytes);
    if (chunk == nullptr) return broken("a block of its chunk tree in no system chunk");
    if ((logical - chunk->logical) % node_bytes != 0) return broken("a block of its chunk tree between two");
    auto places = chunk->places_of(logical);
    const bool is_taken = std::ranges::any_of(
        places, [&](std::uint64_t place) { return is_for_superblocks(place, node_bytes); });
    if (is_taken) return broken("a block of its chunk tree on a superblock");
    return places;
}

Result<void> ChunkTree::visit(const BlockReference& reference) {
    if (++blocks_ > chunk_tree_blocks_max)
        return fail(ErrorKind::unsupported, "the file system's chunk tree is too large");
    auto places = TRY(places_of(reference.logical));
    TreeBlock block = TRY(read_tree_block(volume_, superblock_, reference, places));
    if (block.is_leaf()) return visit_leaf(std::move(block), std::move(places));
    for (std::uint32_t i = 0; i < block.count(); ++i)
        TRY(visit(block.pointer(i)));
    return {};
}

Result<void> ChunkTree::visit_leaf(TreeBlock block, std::vector<std::uint64_t> places) {
    std::optional<std::size_t> device_at;
    for (std::uint32_t i = 0; i < block.count(); ++i) {
        const TreeItem item = block.item(i);
        TRY(take_item(item));
        if (std::get<1>(item.key) == disk::device_item) device_at = item.at;
    }
    if (device_at) device_ = DeviceLeaf{std::move(places), block.release(), *device_at};
    return {};
}

Result<void> ChunkTree::take_item(const TreeItem& item) {
    if (last_ && item.key <= *last_) return broken("the keys of its chunk tree are out of order");
    last_ = item.key;
    switch (std::get<1>(item.key)) {
        case disk::device_item:
            return take_device(item);
        case disk::chunk_item:
            return take_chunk(item);
        default:
            return broken("an item of its chunk tree that is not known");
    }
}

// There is but one: keys of others would be of another device.
Result<void> ChunkTree::take_device(const TreeItem& item) const {
    const disk::DeviceItem& expected = superblock_.raw.device;
    if (item.key != Key{disk::devices_object, disk::device_item, expected.id} ||
        item.content.size() != sizeof(disk::DeviceItem))
        return broken("its chunk tree has another device");
    const auto found = load<disk::DeviceItem>(item.content);
    if (found.id != expected.id || found.uuid != expected.uuid || found.fsid != expected.fsid ||
        found.total_bytes != expected.total_bytes)
        return broken("the device in its chunk tree and in its superblock differ");
    return {};
}

Result<void> ChunkTree::take_chunk(const TreeItem& item) {
    if (std::get<0>(item.key) != disk::chunks_object) return broken("a chunk under another key");
    const Chunk chunk = TRY(parse_chunk(superblock_, std::get<2>(item.key), item.content));
    if (chunk.logical < chunks_end_) return broken("chunks on each other");
    chunks_end_ = chunk.logical + chunk.length;
    return {};
}

}  // namespace

BlockReference chunk_root(const Superblock& superblock) {
    const disk::Superblock& raw = superblock.raw;
    return {raw.chunk_root, raw.chunk_root_generation, disk::chunk_tree, raw.chunk_root_level, {}};
}

Result<DeviceLeaf> read_chunk_tree(const Volume& volume, const Superblock& superblock) {
    auto system_chunks = TRY(read_system_chunks(superblock));
    return ChunkTree(volume, superblock, std::move(system_chunks)).walk();
}

}  // namespace qimg::guest::btrfs
