// Trees of free space keep their blocks, among which the records are shared out anew: all of them stay at least half
// full, whichever record came or went.
// SPDX-License-Identifier: Apache-2.0
#include "guest/xfs/last_group.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/try.hpp"

namespace qimg::guest::xfs {

Result<LastGroup> LastGroup::plan(const Volume& volume, const Geometry& before, const Geometry& after) {
    const std::uint32_t group = before.groups - 1;
    const GroupHeaders headers = TRY(read_headers(volume, before, group));
    FreeSpace space = TRY(read_free_space(volume, before, headers));
    LastGroup last(after, headers, std::move(space));
    const std::uint32_t start = before.blocks_in(group);
    last.add_free({start, after.blocks_in(group) - start});
    TRY(last.reshape(last.space_.by_start));
    TRY(last.reshape(last.space_.by_count));
    last.finish_headers();
    return last;
}

// An extent that ends where the group did becomes longer.
void LastGroup::add_free(const FreeExtent& added) {
    auto& by_start = space_.by_start.extents;
    auto& by_count = space_.by_count.extents;
    FreeExtent extent = added;
    const auto in_order = [](const FreeExtent& a, const FreeExtent& b) {
        return is_before(FreeOrder::by_count, a, b);
    };
    if (!by_start.empty() && by_start.back().end() == added.start) {
        const FreeExtent old = by_start.back();
        by_start.pop_back();
        by_count.erase(std::ranges::lower_bound(by_count, old, in_order));
        extent = {old.start, old.count + added.count};
    }
    by_start.push_back(extent);
    by_count.insert(std::ranges::lower_bound(by_count, extent, in_order), extent);
}

Result<PlacedBlock> LastGroup::take_block() {
    if (taken_ == space_.list.size())
        return fail(ErrorKind::unsupported, "the last group keeps too few blocks for its trees");
    return PlacedBlock{space_.list[taken_++], 0};
}

Result<void> LastGroup::reshape(FreeTree& tree) {
    std::size_t items = tree.extents.size();
    for (std::size_t level = 0;; ++level) {
        if (level == tree.levels.size()) tree.levels.emplace_back();
        const std::size_t most = level == 0 ? leaf_records(g_) : node_records(g_);
        while (items > tree.levels[level].size() * most) {
            const PlacedBlock block = TRY(take_block());
            tree.levels[level].push_back(block);
        }
        items = tree.levels[level].size();
        if (items == 1 && level + 1 == tree.levels.size()) return {};
    }
}

void LastGroup::finish_headers() {
    disk::FreeSpace& h = headers_.space;
    const FreeTree &by_start = space_.by_start, &by_count = space_.by_count;
    const std::uint32_t added = g_.blocks_in(h.group) - h.blocks;
    h.blocks = h.blocks + added;
    headers_.inodes.blocks = h.blocks;
    h.free_blocks = h.free_blocks + added;
    h.longest = by_count.extents.back().count;
    h.by_start_root = by_start.levels.back().front().block;
    h.by_count_root = by_count.levels.back().front().block;
    h.by_start_levels = static_cast<std::uint32_t>(by_start.levels.size());
    h.by_count_levels = static_cast<std::uint32_t>(by_count.levels.size());
    h.list_first = (h.list_first + taken_) % g_.list_entries();
    h.list_count = h.list_count - taken_;
    h.tree_blocks = h.tree_blocks + taken_;
}

Result<void> LastGroup::write(Volume& volume) const {
    TRY(write_tree(volume, space_.by_start, disk::by_start_magic));
    TRY(write_tree(volume, space_.by_count, disk::by_count_magic));
    return write_headers(volume);
}

Result<void> LastGroup::write_tree(Volume& volume, const FreeTree& tree, std::uint32_t magic) const {
    std::vector<FreeExtent> keys;  // of each block one level below
    for (std::size_t level = 0; level < tree.levels.size(); ++level)
        TRY(write_level(volume, tree, level, magic, keys));
    return {};
}

Result<void> LastGroup::write_level(Volume& volume, const FreeTree& tree, std::size_t level,
                                    std::uint32_t magic, std::vector<FreeExtent>& keys) const {
    const auto& blocks = tree.levels[level];
    const auto& items = level == 0 ? tree.extents : keys;
    std::vector<FreeExtent> first_items;
    std::size_t next = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        Bytes bytes(g_.block_bytes);
        const std::size_t count = items.size() / blocks.size() + (i < items.size() % blocks.size() ? 1 : 0);
        disk::TreeBlock h{};
        h.magic = magic;
        h.level = static_cast<std::uint16_t>(level);
        h.count = static_cast<std::uint16_t>(count);
        h.left = i == 0 ? disk::no_block : blocks[i - 1].block;
        h.right = i + 1 == blocks.size() ? disk::no_block : blocks[i + 1].block;
        const std::uint64_t at = g_.block_at(headers_.space.group, blocks[i].block);
        h.place = at / disk::place_unit;
        h.lsn = blocks[i].lsn;
        h.uuid = g_.uuid;
        h.group = headers_.space.group;
        store(std::span(bytes), h);
        for (std::size_t j = 0; j < count; ++j) {
            const disk::Extent record{items[next + j].start, items[next + j].count};
            store(std::span(bytes).subspan(sizeof h + j * sizeof record), record);
            if (level == 0) continue;
            const std::size_t place = sizeof h + node_records(g_) * sizeof record + j * sizeof(be32);
            store(std::span(bytes).subspan(place), be32(tree.levels[level - 1][next + j].block));
        }
        set_checksum(bytes, offsetof(disk::TreeBlock, checksum));
        TRY(volume.write(at, bytes));
        if (count != 0) first_items.push_back(items[next]);
        next += count;
    }
    keys = std::move(first_items);
    return {};
}

// What they hold besides is kept.
Result<void> LastGroup::write_headers(Volume& volume) const {
    const std::uint64_t at = g_.sector_at(headers_.space.group, 1);
    Bytes sectors(std::size_t{2} * g_.sector_bytes);
    TRY(volume.read(at, sectors));
    const auto first = std::span(sectors).first(g_.sector_bytes),
               second = std::span(sectors).last(g_.sector_bytes);
    store(first, headers_.space);
    store(second, headers_.inodes);
    set_checksum(first, offsetof(disk::FreeSpace, checksum));
    set_checksum(second, offsetof(disk::Inodes, checksum));
    return volume.write(at, sectors);
}

}  // namespace qimg::guest::xfs
