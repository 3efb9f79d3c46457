// Reading a tree of free space level by level, from its root down.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/xfs/group.hpp"

namespace qimg::guest::xfs {

namespace {

FreeExtent extent_at(std::span<const std::byte> bytes, std::size_t index) {
    const auto raw =
        load<disk::Extent>(bytes.subspan(sizeof(disk::TreeBlock) + index * sizeof(disk::Extent)));
    return {raw.start, raw.count};
}

class TreeReader {
  public:
    TreeReader(const Volume& volume, const Geometry& geometry, std::uint32_t group, FreeOrder order)
        : volume_(volume), g_(geometry), group_(group), order_(order), bytes_(geometry.block_bytes) {}

    Result<FreeTree> read(std::uint32_t root, std::uint32_t levels) {
        tree_.levels.resize(levels);
        tree_.levels.back().push_back({root, 0});
        for (std::uint32_t level = levels; level-- > 0;) {
            auto& blocks = tree_.levels[level];
            std::vector<FreeExtent> keys;
            keys.swap(keys_);
            for (std::size_t i = 0; i < blocks.size(); ++i) {
                const bool is_root = level + 1 == levels;
                TRY(read_block(level, i, is_root));
                if (!is_root && !is_key_of(keys[i], extent_at(bytes_, 0)))
                    return wrong("a key is not that of its block");
            }
        }
        return std::move(tree_);
    }

  private:
    std::unexpected<Error> wrong(std::string_view what) const {
        return broken(fmt::format("allocation group {}: a tree of free space: {}", group_, what));
    }

    // By start, nobody looks at a key's length.
    bool is_key_of(const FreeExtent& key, const FreeExtent& first) const {
        return key.start == first.start && (order_ == FreeOrder::by_start || key.count == first.count);
    }

    Result<void> read_block(std::uint32_t level, std::size_t index, bool is_root) {
        auto& blocks = tree_.levels[level];
        const std::uint32_t magic =
            order_ == FreeOrder::by_start ? disk::by_start_magic : disk::by_count_magic;
        const disk::TreeBlock header =
            TRY(read_tree_block(volume_, g_, group_, blocks[index].block, magic, level, bytes_));
        blocks[index].lsn = header.lsn;
        const std::uint32_t left = index == 0 ? disk::no_block : blocks[index - 1].block;
        const std::uint32_t right = index + 1 == blocks.size() ? disk::no_block : blocks[index + 1].block;
        if (header.left != left || header.right != right) return wrong("the neighbours of a block");
        const std::uint32_t most = level == 0 ? leaf_records(g_) : node_records(g_);
        const std::uint32_t least = !is_root ? most / 2 : level == 0 ? 0 : 1;
        if (header.count > most || header.count < least) return wrong("how many records a block has");
        return level == 0 ? read_leaf(header.count) : read_node(level, header.count, most);
    }

    Result<void> read_leaf(std::uint32_t count) {
        if (tree_.extents.size() + count > free_extents_max)
            return fail(ErrorKind::unsupported, "the free space of its last group is in too many pieces");
        for (std::uint32_t i = 0; i < count; ++i) {
            const FreeExtent extent = extent_at(bytes_, i);
            if (extent.count == 0 || extent.start < g_.header_blocks() || extent.end() > g_.blocks_in(group_))
                return wrong("an extent lies outside the group");
            if (!tree_.extents.empty() && !follows(tree_.extents.back(), extent))
                return wrong("extents are not in order");
            tree_.extents.push_back(extent);
        }
        return {};
    }

    bool follows(const FreeExtent& before, const FreeExtent& after) const {
        return order_ == FreeOrder::by_start ? before.end() <= after.start : is_before(order_, before, after);
    }

    Result<void> read_node(std::uint32_t level, std::uint32_t count, std::uint32_t most) {
        auto& below = tree_.levels[level - 1];
        if (below.size() + count > free_extents_max / (node_records(g_) / 2))
            return fail(ErrorKind::unsupported, "the free space of its last group is in too many pieces");
        for (std::uint32_t i = 0; i < count; ++i) {
            const std::size_t place =
                sizeof(disk::TreeBlock) + most * sizeof(disk::Extent) + i * sizeof(be32);
            const std::uint32_t block = load<be32>(std::span(bytes_).subspan(place));
            if (block < g_.header_blocks() || block >= g_.blocks_in(group_))
                return wrong("a block lies outside the group");
            below.push_back({block, 0});
            keys_.push_back(extent_at(bytes_, i));
        }
        return {};
    }

    const Volume& volume_;
    const Geometry& g_;
    std::uint32_t group_;
    FreeOrder order_;
    Bytes bytes_;
    FreeTree tree_;
    std::vector<FreeExtent> keys_;  // of the blocks one level below
};

}  // namespace

Result<disk::TreeBlock> read_tree_block(const Volume& volume, const Geometry& g, std::uint32_t group,
                                        std::uint32_t block, std::uint32_t magic, std::uint32_t level,
                                        std::span<std::byte> bytes) {
    const std::uint64_t at = g.block_at(group, block);
    TRY(volume.read(at, bytes));
    const auto header = load<disk::TreeBlock>(bytes);
    if (header.magic != magic || header.level != level || header.place != at / disk::place_unit ||
        header.uuid != g.uuid || header.group != group || !g.is_known_lsn(header.lsn) ||
        !has_checksum(bytes, offsetof(disk::TreeBlock, checksum)))
        return broken(fmt::format("allocation group {}: block {} of a tree", group, block));
    return header;
}

Result<FreeTree> read_free_tree(const Volume& volume, const Geometry& g, const disk::FreeSpace& header,
                                FreeOrder order) {
    TreeReader reader(volume, g, header.group, order);
    return order == FreeOrder::by_start ? reader.read(header.by_start_root, header.by_start_levels)
                                        : reader.read(header.by_count_root, header.by_count_levels);
}

}  // namespace qimg::guest::xfs
