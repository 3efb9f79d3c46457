// The arithmetic of growing. Reads and writes nothing.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/plan.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "base/try.hpp"

namespace qimg::guest::ext4 {

namespace {

constexpr std::uint64_t low_blocks_max = (1ull << 32) - 1;  // what 32-bit numbers of blocks count

std::unexpected<Error> too_large(std::string_view reason) {
    return fail(ErrorKind::unsupported, fmt::format("the file system cannot grow that far: {}", reason));
}

Result<std::uint64_t> blocks_for(const Geometry& g, std::uint64_t volume_bytes) {
    // pages, as the kernel and resize2fs have them
    constexpr std::uint64_t page_bytes = 4096;
    std::uint64_t blocks = volume_bytes / page_bytes * (page_bytes / g.block_bytes);
    if (g.has(disk::wide)) return std::max(blocks, g.blocks);
    if (blocks == low_blocks_max + 1) blocks = low_blocks_max;
    if (blocks > low_blocks_max)
        return too_large(fmt::format("without the feature 64bit it has {} blocks at most", low_blocks_max));
    return std::max(blocks, g.blocks);
}

// Where further descriptor blocks go: the reserved ones first, then meta groups.
void extend_descriptors(const Geometry& before, Geometry& after) {
    if (before.has(disk::meta_bg)) return;
    const std::uint32_t old_blocks = before.descriptor_blocks(), new_blocks = after.descriptor_blocks();
    const std::uint32_t taken = new_blocks - old_blocks;
    if (taken <= before.reserved_descriptor_blocks) {
        after.reserved_descriptor_blocks = before.reserved_descriptor_blocks - taken;
        return;
    }
    after.first_meta_block = old_blocks + before.reserved_descriptor_blocks;
    after.reserved_descriptor_blocks = 0;
    after.incompat |= disk::meta_bg;
    after.compat &= ~std::uint32_t{disk::has_resize_inode};
}

Geometry with_blocks(const Geometry& before, std::uint64_t blocks) {
    Geometry after = before;
    after.blocks = blocks;
    after.groups =
        static_cast<std::uint32_t>((blocks - before.first_data_block - 1) / before.blocks_per_group + 1);
    extend_descriptors(before, after);
    return after;
}

// Copies of all descriptors in every group, as without sparse_super, are more than anybody waits for.
Result<void> check_backups_size(const Geometry& g) {
    constexpr std::uint64_t copied_bytes_max = 1ull << 30;
    const std::uint64_t copy_bytes = (1ull + g.legacy_descriptor_blocks()) * g.block_bytes;
    std::uint64_t copies = 0;
    for (std::uint32_t group = 0; group < g.groups; ++group)
        copies += g.has_superblock(group) ? 1 : 0;
    if (copies * copy_bytes <= copied_bytes_max) return {};
    return too_large(fmt::format("it would have {} copies of {} bytes of descriptors", copies, copy_bytes));
}

// Hands out blocks behind each other, in groups that are new, around what these begin with.
class Cursor {
  public:
    Cursor(const Geometry& geometry, std::uint32_t first, std::uint32_t end)
        : g_(geometry), group_(first), end_(end) {
        enter();
    }

    std::optional<std::uint64_t> take(std::uint32_t count) {
        while (group_ < end_ && next_ + count > limit_) {
            ++group_;
            enter();
        }
        if (group_ >= end_) return std::nullopt;
        next_ += count;
        return next_ - count;
    }

  private:
    void enter() {
        if (group_ >= end_) return;
        next_ = g_.group_start(group_) + g_.base_blocks(group_);
        limit_ = g_.group_start(group_) + g_.group_blocks(group_);
    }

    const Geometry& g_;
    std::uint32_t group_, end_;
    std::uint64_t next_ = 0, limit_ = 0;
};

std::optional<std::vector<Placement>> place_together(const Geometry& g, std::uint32_t first,
                                                     std::uint32_t end) {
    std::vector<Placement> places(end - first);
    Cursor cursor(g, first, end);
    struct Part {
        std::uint64_t Placement::*where;
        std::uint32_t blocks;
    };
    for (const Part& part : {Part{&Placement::block_bitmap, 1}, Part{&Placement::inode_bitmap, 1},
                             Part{&Placement::inode_table, g.inode_table_blocks()}}) {
        for (Placement& place : places) {
            const auto block = cursor.take(part.blocks);
            if (!block) return std::nullopt;
            place.*part.where = *block;
        }
    }
    return places;
}

}  // namespace

Result<Geometry> grown(const Geometry& before, std::uint64_t volume_bytes) {
    const std::uint64_t blocks = TRY(blocks_for(before, volume_bytes));
    const std::uint64_t groups = (blocks - before.first_data_block - 1) / before.blocks_per_group + 1;
    if (groups > groups_max) return too_large(fmt::format("it would have {} groups of blocks", groups));
    if (groups * before.inodes_per_group > low_blocks_max)
        return too_large(fmt::format("{} inodes in each of {} groups are more than it can count",
                                     before.inodes_per_group, groups));
    Geometry after = with_blocks(before, blocks);
    if (after.groups > before.groups) {
        // a last group has to hold its own metadata, and 50 blocks of data, as mke2fs and resize2fs ask for
        constexpr std::uint32_t data_blocks_min = 50;
        const std::uint32_t last = after.groups - 1;
        // with two backups at most, resize2fs has one of them move to the last group, and wants room for it
        const bool may_get_backup = after.has(disk::sparse_super2) && after.backup_groups[0] != 0;
        const std::uint32_t base =
            may_get_backup ? 1 + after.legacy_descriptor_blocks() + after.reserved_descriptor_blocks
                           : after.base_blocks(last);
        const std::uint32_t needed = base + 2 + after.inode_table_blocks() + data_blocks_min;
        if (after.group_blocks(last) < needed) after = with_blocks(before, before.group_start(last));
    }
    if (after.has(disk::has_resize_inode) && after.blocks > low_blocks_max)
        return too_large("its resize inode reaches 16 TiB; switch the feature resize_inode off with tune2fs");
    TRY(check_backups_size(after));
    return after;
}

std::uint32_t placement_end(const Geometry& g, std::uint32_t first) {
    const std::uint64_t next = (std::uint64_t{first} / g.groups_per_flex + 1) * g.groups_per_flex;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(next, g.groups));
}

Result<std::vector<Placement>> place(const Geometry& g, std::uint32_t first, std::uint32_t end) {
    if (auto places = place_together(g, first, end)) return *std::move(places);
    std::vector<Placement> places;
    for (std::uint32_t group = first; group < end; ++group) {
        const auto own = place_together(g, group, group + 1);
        if (!own) return too_large(fmt::format("group {} would not have room for its inodes", group));
        places.push_back(own->front());
    }
    return places;
}

}  // namespace qimg::guest::ext4
