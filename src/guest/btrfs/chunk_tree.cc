// Walks the tree in the order of its keys, which never go back: so no block comes twice.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/chunk_tree.hpp"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "base/try.hpp"
#include "guest/btrfs/chunks.hpp"

namespace qimg::guest::btrfs {

namespace {

using Key = std::tuple<std::uint64_t, std::uint8_t, std::uint64_t>;
Key key_of(const disk::Key& raw) {
    return {raw.object, raw.type, raw.offset};
}

// What is known of a block before it is read.
struct Expected {
    std::uint64_t logical = 0;
    std::uint64_t generation = 0;
    unsigned level = 0;
    std::optional<Key> first;  // key; of all but the root
};

class ChunkTree {
  public:
    ChunkTree(const Volume& volume, const Superblock& superblock, std::vector<Chunk> system_chunks)
        : volume_(volume), superblock_(superblock), system_chunks_(std::move(system_chunks)) {}

    Result<DeviceLeaf> walk() {
        const disk::Superblock& raw = superblock_.raw;
        TRY(visit({raw.chunk_root, raw.chunk_root_generation, raw.chunk_root_level, {}}));
        if (!device_) return broken("its chunk tree has no device");
        return std::move(*device_);
    }

  private:
    std::uint32_t node_bytes() const { return superblock_.raw.node_bytes; }

    Result<std::vector<std::uint64_t>> places_of(std::uint64_t logical) const;
    Result<Bytes> read_block(std::uint64_t logical, std::span<const std::uint64_t> places) const;
    Result<disk::BlockHeader> check_header(const Bytes& block, const Expected& expected) const;
    Result<void> visit(const Expected& expected);
    Result<void> visit_node(const Bytes& block, const disk::BlockHeader& header);
    Result<void> visit_leaf(Bytes block, const disk::BlockHeader& header, std::vector<std::uint64_t> places);
    Result<void> take_item(const Key& key, std::span<const std::byte> content);
    Result<void> take_device(const Key& key, std::span<const std::byte> content) const;
    Result<void> take_chunk(const Key& key, std::span<const std::byte> content);
    Result<void> go_on_to(const Key& key);

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
    const auto chunk = std::ranges::find_if(
        system_chunks_, [&](const Chunk& one) { return one.contains(logical, node_bytes()); });
    if (chunk == system_chunks_.end()) return broken("a block of its chunk tree in no system chunk");
    const std::uint64_t offset = logical - chunk->logical;
    if (offset % node_bytes() != 0) return broken("a block of its chunk tree between two");
    std::vector<std::uint64_t> places;
    for (const std::uint64_t copy : chunk->copies) {
        if (is_for_superblocks(copy + offset, node_bytes()))
            return broken("a block of its chunk tree on a superblock");
        places.push_back(copy + offset);
    }
    return places;
}

Result<Bytes> ChunkTree::read_block(std::uint64_t logical, std::span<const std::uint64_t> places) const {
    Bytes block(node_bytes()), other(node_bytes());
    TRY(volume_.read(places.front(), block));
    const auto header = load<disk::BlockHeader>(block);
    if (header.checksum != checksum_of_block(superblock_.checksum_type, block) || header.logical != logical)
        return broken("a block of its chunk tree has another checksum");
    for (const std::uint64_t place : places.subspan(1)) {
        TRY(volume_.read(place, other));
        if (other != block) return broken("the copies of a block of its chunk tree differ");
    }
    return block;
}

Result<disk::BlockHeader> ChunkTree::check_header(const Bytes& block, const Expected& expected) const {
    const auto header = load<disk::BlockHeader>(block);
    if (header.fsid != superblock_.tree_fsid() || header.owner != disk::chunk_tree ||
        (header.flags & disk::block_written) == 0)
        return broken("a block of its chunk tree belongs to something else");
    if (header.level != expected.level || header.generation != expected.generation)
        return broken("a block of its chunk tree is not the one that is meant");
    const std::size_t entry = header.level == 0 ? sizeof(disk::Item) : sizeof(disk::BlockPointer);
    if (header.items == 0 || header.items > (block.size() - sizeof header) / entry)
        return broken("a block of its chunk tree has a wrong number of items");
    if (expected.first && key_of(load<disk::Key>(std::span(block).subspan(sizeof header))) != *expected.first)
        return broken("a block of its chunk tree begins with another key");
    return header;
}

Result<void> ChunkTree::visit(const Expected& expected) {
    if (++blocks_ > chunk_tree_blocks_max)
        return fail(ErrorKind::unsupported, "the file system's chunk tree is too large");
    auto places = TRY(places_of(expected.logical));
    Bytes block = TRY(read_block(expected.logical, places));
    const auto header = TRY(check_header(block, expected));
    return header.level == 0 ? visit_leaf(std::move(block), header, std::move(places))
                             : visit_node(block, header);
}

Result<void> ChunkTree::visit_node(const Bytes& block, const disk::BlockHeader& header) {
    for (std::uint32_t i = 0; i < header.items; ++i) {
        const auto pointer = load<disk::BlockPointer>(
            std::span(block).subspan(sizeof header + i * sizeof(disk::BlockPointer)));
        TRY(visit({pointer.logical, pointer.generation, header.level - 1u, key_of(pointer.key)}));
    }
    return {};
}

// Items grow from the end of the leaf towards its front, without gaps.
Result<void> ChunkTree::visit_leaf(Bytes block, const disk::BlockHeader& header,
                                   std::vector<std::uint64_t> places) {
    const std::span<const std::byte> body = std::span(block).subspan(sizeof header);
    std::uint64_t end = body.size();
    std::optional<std::size_t> device_at;
    for (std::uint32_t i = 0; i < header.items; ++i) {
        const auto item = load<disk::Item>(body.subspan(i * sizeof(disk::Item)));
        if (std::uint64_t{item.place} + item.bytes != end || item.place < header.items * sizeof(disk::Item))
            return broken("an item of its chunk tree is not where it shall be");
        end = item.place;
        const Key key = key_of(item.key);
        TRY(take_item(key, body.subspan(item.place, item.bytes)));
        if (item.key.type == disk::device_item) device_at = sizeof header + item.place;
    }
    if (!device_at) return {};
    device_ = DeviceLeaf{std::move(places), {}, *device_at};
    device_->content = std::move(block);
    return {};
}

Result<void> ChunkTree::go_on_to(const Key& key) {
    if (last_ && key <= *last_) return broken("the keys of its chunk tree are out of order");
    last_ = key;
    return {};
}

Result<void> ChunkTree::take_item(const Key& key, std::span<const std::byte> content) {
    TRY(go_on_to(key));
    switch (std::get<1>(key)) {
        case disk::device_item:
            return take_device(key, content);
        case disk::chunk_item:
            return take_chunk(key, content);
        default:
            return broken("an item of its chunk tree that is not known");
    }
}

// There is but one: keys of others would be of another device.
Result<void> ChunkTree::take_device(const Key& key, std::span<const std::byte> content) const {
    const disk::DeviceItem& expected = superblock_.raw.device;
    if (key != Key{disk::devices_object, disk::device_item, expected.id} ||
        content.size() != sizeof(disk::DeviceItem))
        return broken("its chunk tree has another device");
    const auto item = load<disk::DeviceItem>(content);
    if (item.id != expected.id || item.uuid != expected.uuid || item.fsid != expected.fsid ||
        item.total_bytes != expected.total_bytes)
        return broken("the device in its chunk tree and in its superblock differ");
    return {};
}

Result<void> ChunkTree::take_chunk(const Key& key, std::span<const std::byte> content) {
    if (std::get<0>(key) != disk::chunks_object) return broken("a chunk under another key");
    const Chunk chunk = TRY(parse_chunk(superblock_, std::get<2>(key), content));
    if (chunk.logical < chunks_end_) return broken("chunks on each other");
    chunks_end_ = chunk.logical + chunk.length;
    return {};
}

}  // namespace

Result<DeviceLeaf> read_chunk_tree(const Volume& volume, const Superblock& superblock) {
    auto system_chunks = TRY(read_system_chunks(superblock));
    return ChunkTree(volume, superblock, std::move(system_chunks)).walk();
}

}  // namespace qimg::guest::btrfs
