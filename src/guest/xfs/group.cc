// Headers of a group, its free list, and whether its free space adds up.
// SPDX-License-Identifier: Apache-2.0
#include "guest/xfs/group.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/try.hpp"

namespace qimg::guest::xfs {

namespace {

constexpr std::uint32_t levels_max = 9;

class HeaderCheck {
  public:
    HeaderCheck(const Geometry& geometry, std::uint32_t group)
        : g_(geometry), group_(group), blocks_(geometry.blocks_in(group)) {}

    Result<void> check(const disk::FreeSpace& h) const {
        TRY(check_common(h, disk::free_space_magic, "free space"));
        const bool are_roots =
            is_root(h.by_start_root, h.by_start_levels) && is_root(h.by_count_root, h.by_count_levels) &&
            (!g_.has(disk::reverse_map) ||
             (is_root(h.reverse_map_root, h.reverse_map_levels) && is_count(h.reverse_map_blocks))) &&
            (!g_.has(disk::reflink) || is_root(h.reference_count_root, h.reference_count_levels));
        if (!are_roots) return wrong("a root of its trees");
        if (h.free_blocks >= blocks_ || h.longest > h.free_blocks || h.tree_blocks >= blocks_)
            return wrong("its number of free blocks");
        return {};
    }

    Result<void> check(const disk::Inodes& h) const {
        TRY(check_common(h, disk::inodes_magic, "inodes"));
        const bool are_roots = is_root(h.root, h.levels) &&
                               (!g_.has(disk::free_inode_tree) || is_root(h.free_root, h.free_levels));
        if (!are_roots) return wrong("a root of its inodes' trees");
        return h.free_count <= h.count ? Result<void>() : wrong("its number of free inodes");
    }

    std::unexpected<Error> wrong(std::string_view what) const {
        return broken(fmt::format("allocation group {}: {}", group_, what));
    }

  private:
    bool is_count(std::uint32_t blocks) const { return blocks != 0 && blocks < blocks_; }
    bool is_root(std::uint32_t block, std::uint32_t levels) const {
        return block >= g_.header_blocks() && block < blocks_ && levels != 0 && levels <= levels_max;
    }

    template <class Header>
    Result<void> check_common(const Header& h, std::uint32_t magic, std::string_view what) const {
        if (h.magic != magic || h.version != 1 || h.group != group_ || h.uuid != g_.uuid)
            return wrong(fmt::format("its header of {}", what));
        if (h.blocks != blocks_) return wrong(fmt::format("its length in the header of {}", what));
        if (!g_.is_known_lsn(h.lsn))
            return wrong(fmt::format("its header of {} is newer than the log", what));
        return {};
    }

    const Geometry& g_;
    std::uint32_t group_;
    std::uint32_t blocks_;
};

// Every block that is known to be in use lies in the group, behind the headers, once.
class OwnBlocks {
  public:
    OwnBlocks(const Geometry& geometry, const GroupHeaders& headers) : g_(geometry), space_(headers.space) {
        if (g_.has(disk::reverse_map)) add(space_.reverse_map_root);
        if (g_.has(disk::reflink)) add(space_.reference_count_root);
        add(headers.inodes.root);
        if (g_.has(disk::free_inode_tree)) add(headers.inodes.free_root);
    }

    void add(const FreeSpace& found) {
        for (const FreeTree* tree : {&found.by_start, &found.by_count}) {
            for (const auto& level : tree->levels) {
                for (const PlacedBlock& one : level)
                    add(one.block);
            }
        }
        for (const std::uint32_t block : found.list)
            add(block);
    }

    Result<void> check(std::span<const FreeExtent> free) {
        std::ranges::sort(blocks_);
        const HeaderCheck check(g_, space_.group);
        if (std::ranges::adjacent_find(blocks_) != blocks_.end()) return check.wrong("a block is used twice");
        auto extent = free.begin();
        for (const std::uint32_t block : blocks_) {
            while (extent != free.end() && extent->end() <= block)
                ++extent;
            if (extent != free.end() && extent->start <= block)
                return check.wrong("a block of its trees is marked as free");
        }
        if (space_.group != g_.log_group) return {};
        const std::uint64_t log_end = std::uint64_t{g_.log_start} + g_.log_blocks;
        const bool is_free = std::ranges::any_of(
            free, [&](const FreeExtent& one) { return one.start < log_end && one.end() > g_.log_start; });
        return is_free ? check.wrong("its log is marked as free") : Result<void>();
    }

  private:
    void add(std::uint32_t block) { blocks_.push_back(block); }

    const Geometry& g_;
    const disk::FreeSpace& space_;
    std::vector<std::uint32_t> blocks_;
};

std::size_t inner_blocks(const FreeTree& tree) {
    std::size_t blocks = 0;
    for (const auto& level : tree.levels)
        blocks += level.size();
    return blocks - 1;
}

Result<void> check_sums(const Geometry& g, const disk::FreeSpace& header, const FreeSpace& found) {
    const HeaderCheck check(g, header.group);
    std::uint64_t sum = 0;
    std::uint32_t longest = 0;
    for (const FreeExtent& extent : found.by_start.extents) {
        sum += extent.count;
        longest = std::max(longest, extent.count);
    }
    if (sum != header.free_blocks) return check.wrong("its number of free blocks");
    if (longest != header.longest) return check.wrong("its longest free extent");
    std::size_t blocks = inner_blocks(found.by_start) + inner_blocks(found.by_count);
    if (g.has(disk::reverse_map)) blocks += header.reverse_map_blocks - 1;
    return blocks == header.tree_blocks ? Result<void>() : check.wrong("its number of blocks of trees");
}

}  // namespace

Result<GroupHeaders> read_headers(const Volume& volume, const Geometry& g, std::uint32_t group) {
    const HeaderCheck check(g, group);
    Bytes sectors(std::size_t{2} * g.sector_bytes);
    TRY(volume.read(g.sector_at(group, 1), sectors));
    const auto first = std::span(sectors).first(g.sector_bytes),
               second = std::span(sectors).last(g.sector_bytes);
    const GroupHeaders found{load<disk::FreeSpace>(first), load<disk::Inodes>(second)};
    if (!has_checksum(first, offsetof(disk::FreeSpace, checksum)))
        return check.wrong("the checksum of its header of free space");
    if (!has_checksum(second, offsetof(disk::Inodes, checksum)))
        return check.wrong("the checksum of its header of inodes");
    TRY(check.check(found.space));
    TRY(check.check(found.inodes));
    return found;
}

Result<std::vector<std::uint32_t>> read_free_list(const Volume& volume, const Geometry& g,
                                                  const disk::FreeSpace& header) {
    const HeaderCheck check(g, header.group);
    Bytes sector(g.sector_bytes);
    TRY(volume.read(g.sector_at(header.group, 3), sector));
    const auto list = load<disk::FreeList>(sector);
    if (list.magic != disk::free_list_magic || list.group != header.group || list.uuid != g.uuid ||
        !g.is_known_lsn(list.lsn) || !has_checksum(sector, offsetof(disk::FreeList, checksum)))
        return check.wrong("its free list");
    const std::uint32_t entries = g.list_entries(), first = header.list_first, count = header.list_count;
    if (first >= entries || header.list_last >= entries || count > entries ||
        (first + count + entries - 1) % entries != header.list_last)
        return check.wrong("the bounds of its free list");
    std::vector<std::uint32_t> blocks(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::size_t place = sizeof(disk::FreeList) + std::size_t{(first + i) % entries} * sizeof(be32);
        blocks[i] = load<be32>(std::span(sector).subspan(place));
        if (blocks[i] < g.header_blocks() || blocks[i] >= g.blocks_in(header.group))
            return check.wrong("a block of its free list");
    }
    return blocks;
}

Result<FreeSpace> read_free_space(const Volume& volume, const Geometry& g, const GroupHeaders& headers) {
    const disk::FreeSpace& header = headers.space;
    FreeSpace found;
    found.by_start = TRY(read_free_tree(volume, g, header, FreeOrder::by_start));
    found.by_count = TRY(read_free_tree(volume, g, header, FreeOrder::by_count));
    found.list = TRY(read_free_list(volume, g, header));
    TRY(check_sums(g, header, found));
    std::vector<FreeExtent> sorted = found.by_count.extents;
    std::ranges::sort(sorted, {}, &FreeExtent::start);
    if (sorted != found.by_start.extents)
        return HeaderCheck(g, header.group).wrong("its two trees of free space differ");
    OwnBlocks own(g, headers);
    own.add(found);
    TRY(own.check(found.by_start.extents));
    return found;
}

}  // namespace qimg::guest::xfs
