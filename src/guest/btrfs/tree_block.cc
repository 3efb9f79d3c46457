// Nothing in a block is used before its place in it is checked.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/tree_block.hpp"

#include "base/try.hpp"

namespace qimg::guest::btrfs {

namespace {

Result<Bytes> read_copies(const Volume& volume, const Superblock& superblock, std::uint64_t logical,
                          std::span<const std::uint64_t> places) {
    Bytes block(superblock.raw.node_bytes), other(superblock.raw.node_bytes);
    TRY(volume.read(places.front(), block));
    const auto header = load<disk::BlockHeader>(block);
    if (header.checksum != checksum_of_block(superblock.checksum_type, block) || header.logical != logical)
        return broken("a tree block has another checksum");
    for (const std::uint64_t place : places.subspan(1)) {
        TRY(volume.read(place, other));
        if (other != block) return broken("the copies of a tree block differ");
    }
    return block;
}

Result<void> check_header(const disk::BlockHeader& header, const Superblock& superblock,
                          const BlockReference& reference) {
    if (header.fsid != superblock.tree_fsid() || header.owner != reference.owner ||
        (header.flags & disk::block_written) == 0)
        return broken("a tree block belongs to something else");
    if (header.level != reference.level || header.generation != reference.generation)
        return broken("a tree block is not the one that is meant");
    const std::size_t entry = header.level == 0 ? sizeof(disk::Item) : sizeof(disk::BlockPointer);
    if (header.items == 0 || header.items > (superblock.raw.node_bytes - sizeof header) / entry)
        return broken("a tree block has a wrong number of items");
    return {};
}

// Items grow from the end of the leaf towards its front, without gaps.
Result<void> check_places(std::span<const std::byte> body, std::uint32_t count) {
    std::uint64_t end = body.size();
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto item = load<disk::Item>(body.subspan(i * sizeof(disk::Item)));
        if (std::uint64_t{item.place} + item.bytes != end || item.place < count * sizeof(disk::Item))
            return broken("an item of a tree block is not where it shall be");
        end = item.place;
    }
    return {};
}

}  // namespace

Key key_of(const disk::Key& raw) {
    return {raw.object, raw.type, raw.offset};
}

std::size_t TreeBlock::entry_at(std::uint32_t index) const {
    return sizeof header_ + index * (is_leaf() ? sizeof(disk::Item) : sizeof(disk::BlockPointer));
}

Key TreeBlock::key(std::uint32_t index) const {
    return key_of(load<disk::Key>(std::span(content_).subspan(entry_at(index))));
}

TreeItem TreeBlock::item(std::uint32_t index) const {
    const auto raw = load<disk::Item>(std::span(content_).subspan(entry_at(index)));
    const std::size_t at = sizeof header_ + raw.place;
    return {key_of(raw.key), std::span(content_).subspan(at, raw.bytes), at};
}

BlockReference TreeBlock::pointer(std::uint32_t index) const {
    const auto raw = load<disk::BlockPointer>(std::span(content_).subspan(entry_at(index)));
    return {raw.logical, raw.generation, header_.owner, header_.level - 1u, key_of(raw.key)};
}

Result<TreeBlock> read_tree_block(const Volume& volume, const Superblock& superblock,
                                  const BlockReference& reference, std::span<const std::uint64_t> places) {
    Bytes content = TRY(read_copies(volume, superblock, reference.logical, places));
    const auto header = load<disk::BlockHeader>(content);
    TRY(check_header(header, superblock, reference));
    if (header.level == 0) TRY(check_places(std::span(content).subspan(sizeof header), header.items));
    TreeBlock block(std::move(content), header);
    if (reference.first && block.key(0) != *reference.first)
        return broken("a tree block begins with another key");
    for (std::uint32_t i = 1; i < block.count(); ++i) {
        if (block.key(i) <= block.key(i - 1)) return broken("the keys of a tree block are out of order");
    }
    return block;
}

}  // namespace qimg::guest::btrfs
