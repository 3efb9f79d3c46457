// Growing: descriptors and bitmaps here, copies and what they need by libext2fs. Knows where nothing goes: that is planned.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/grow.hpp"

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/ext4/bits.hpp"
#include "guest/ext4/filesystem.hpp"
#include "guest/ext4/groups.hpp"
#include "guest/ext4/plan.hpp"
#include "guest/ext4/verify.hpp"

namespace qimg::guest::ext4 {

namespace {

// The steps of growing, over one open file system.
class Growing {
  public:
    Growing(Volume& volume, Filesystem& filesystem, const Geometry& before, const Geometry& after,
            Progress& progress)
        : volume_(volume),
          filesystem_(filesystem),
          fs_(filesystem.get()),
          before_(before),
          after_(after),
          progress_(progress),
          bits_(after.block_bytes) {}

    Result<std::optional<std::uint32_t>> run() {
        TRY(make_room_for_descriptors());
        announce();
        TRY(extend_last_group());
        for (std::uint32_t first = before_.groups; first < after_.groups;) {
            if (progress_.cancelled()) return fail(ErrorKind::cancelled, "cancelled");
            const std::uint32_t end = placement_end(after_, first);
            TRY(add_groups(first, end));
            progress_.update(end, after_.groups);
            first = end;
        }
        std::optional<std::uint32_t> released_in;
        if (before_.has(disk::has_resize_inode)) {
            if (after_.has(disk::has_resize_inode))
                TRY(rebuild_resize_inode());
            else
                released_in = TRY(release_resize_inode());
        }
        finish_superblock();
        TRY(filesystem_.flush());
        progress_.update(after_.groups, after_.groups);
        return released_in;
    }

  private:
    Result<void> make_room_for_descriptors() {
        const std::size_t used = std::size_t{before_.groups} * before_.descriptor_bytes;
        const std::size_t old_bytes = std::size_t{before_.descriptor_blocks()} * before_.block_bytes;
        const std::size_t new_bytes = std::size_t{after_.descriptor_blocks()} * after_.block_bytes;
        TRY(filesystem_.check(ext2fs_resize_mem(old_bytes, new_bytes, &fs_->group_desc), "growing"));
        std::memset(ext2fs_group_desc(fs_, fs_->group_desc, before_.groups), 0, new_bytes - used);
        return {};
    }

    // From here on libext2fs knows of the new size.
    void announce() {
        ext2_super_block& super = *fs_->super;
        fs_->group_desc_count = after_.groups;
        fs_->desc_blocks = after_.descriptor_blocks();
        ext2fs_blocks_count_set(&super, after_.blocks);
        super.s_inodes_count = after_.groups * after_.inodes_per_group;
        super.s_reserved_gdt_blocks = static_cast<std::uint16_t>(after_.reserved_descriptor_blocks);
        super.s_feature_compat = after_.compat;
        super.s_feature_incompat = after_.incompat;
        if (after_.has(disk::meta_bg)) super.s_first_meta_bg = after_.first_meta_block;
    }

    Result<void> extend_last_group() {
        const std::uint32_t last = before_.groups - 1;
        const std::uint32_t old_blocks = before_.group_blocks(last), new_blocks = after_.group_blocks(last);
        if (old_blocks == new_blocks) return {};
        if (!before_.has_flags() || !ext2fs_bg_flags_test(fs_, last, EXT2_BG_BLOCK_UNINIT)) {
            const std::uint64_t at = ext2fs_block_bitmap_loc(fs_, last) * after_.block_bytes;
            TRY(volume_.read(at, bits_));
            fill_bits(bits_, old_blocks, new_blocks, false);
            fill_bits(bits_, new_blocks, bits_.size() * 8, true);
            TRY(write_block_bitmap(last));
        }
        free_blocks_ += new_blocks - old_blocks;
        set_free_blocks(last, ext2fs_bg_free_blocks_count(fs_, last) + new_blocks - old_blocks);
        ext2fs_group_desc_csum_set(fs_, last);
        return {};
    }

    // bits_ becomes the bitmap of a group.
    Result<void> write_block_bitmap(std::uint32_t group) {
        const auto bytes = static_cast<int>(after_.blocks_per_group / 8);
        const auto code = ext2fs_block_bitmap_csum_set(
            fs_, group, static_cast<char*>(static_cast<void*>(bits_.data())), bytes);
        TRY(filesystem_.check(code, "growing"));
        return volume_.write(ext2fs_block_bitmap_loc(fs_, group) * after_.block_bytes, bits_);
    }

    void set_free_blocks(std::uint32_t group, std::uint32_t blocks) {
        ext2fs_bg_free_blocks_count_set(fs_, group, blocks);
    }

    Result<void> add_groups(std::uint32_t first, std::uint32_t end) {
        const std::vector<Placement> places = TRY(place(after_, first, end));
        std::vector<BlockRun> runs;
        runs.reserve(places.size() * 3);
        for (const Placement& place : places) {
            runs.push_back({place.block_bitmap, 1});
            runs.push_back({place.inode_bitmap, 1});
            runs.push_back({place.inode_table, after_.inode_table_blocks()});
        }
        TRY(zero_tables(places));
        std::ranges::sort(runs, {}, &BlockRun::start);
        auto next = runs.cbegin();
        for (std::uint32_t group = first; group < end; ++group) {
            const std::uint64_t group_end = after_.group_start(group) + after_.group_blocks(group);
            const auto here = next;
            while (next != runs.cend() && next->start < group_end)
                ++next;
            TRY(add_group(group, places[group - first], std::span(here, next)));
        }
        return {};
    }

    // Tables that follow each other are zeroed as one.
    Result<void> zero_tables(std::span<const Placement> places) {
        const std::uint64_t table_blocks = after_.inode_table_blocks();
        for (std::size_t i = 0; i < places.size();) {
            const std::uint64_t start = places[i].inode_table;
            std::uint64_t end = start + table_blocks;
            for (++i; i < places.size() && places[i].inode_table == end; ++i)
                end += table_blocks;
            TRY(volume_.write_zeroes(start * after_.block_bytes, (end - start) * after_.block_bytes));
        }
        return {};
    }

    // `inside`: what new groups, this one among them, have as metadata in this one.
    Result<void> add_group(std::uint32_t group, const Placement& place, std::span<const BlockRun> inside) {
        const std::uint64_t start = after_.group_start(group);
        const std::uint32_t blocks = after_.group_blocks(group), base = after_.base_blocks(group);
        ext2fs_block_bitmap_loc_set(fs_, group, place.block_bitmap);
        ext2fs_inode_bitmap_loc_set(fs_, group, place.inode_bitmap);
        ext2fs_inode_table_loc_set(fs_, group, place.inode_table);
        std::uint32_t used = base;
        for (const BlockRun& run : inside)
            used += run.count;
        set_free_blocks(group, blocks - used);
        ext2fs_bg_free_inodes_count_set(fs_, group, after_.inodes_per_group);
        if (after_.has_flags()) {
            ext2fs_bg_flags_set(fs_, group, EXT2_BG_INODE_UNINIT | EXT2_BG_INODE_ZEROED);
            ext2fs_bg_itable_unused_set(fs_, group, after_.inodes_per_group);
        } else {
            TRY(write_inode_bitmap(place));
        }
        // the last group's has padding, which those who make a bitmap of their own may forget
        if (after_.has_flags() && inside.empty() && group != after_.groups - 1) {
            ext2fs_bg_flags_set(fs_, group, EXT2_BG_BLOCK_UNINIT);
        } else {
            std::ranges::fill(bits_, std::byte{0});
            fill_bits(bits_, 0, base, true);
            for (const BlockRun& run : inside)
                fill_bits(bits_, run.start - start, run.end() - start, true);
            fill_bits(bits_, blocks, bits_.size() * 8, true);
            TRY(write_block_bitmap(group));
        }
        ext2fs_group_desc_csum_set(fs_, group);
        free_blocks_ += blocks - used;
        overhead_ += base + 2 + after_.inode_table_blocks();
        return {};
    }

    Result<void> write_inode_bitmap(const Placement& place) {
        std::ranges::fill(bits_, std::byte{0});
        fill_bits(bits_, after_.inodes_per_group, bits_.size() * 8, true);
        return volume_.write(place.inode_bitmap * after_.block_bytes, bits_);
    }

    // Fewer blocks are reserved and more groups have copies of them: libext2fs builds it anew around its root.
    Result<void> rebuild_resize_inode() {
        ext2_inode inode{};
        TRY(filesystem_.check(ext2fs_read_inode(fs_, EXT2_RESIZE_INO, &inode), "reading"));
        TRY(volume_.write_zeroes(std::uint64_t{inode.i_block[disk::double_indirect]} * after_.block_bytes,
                                 after_.block_bytes));
        TRY(filesystem_.check(ext2fs_iblk_set(fs_, &inode, 1), "growing"));
        TRY(filesystem_.check(ext2fs_write_inode(fs_, EXT2_RESIZE_INO, &inode), "writing"));
        return filesystem_.check(ext2fs_create_resize_inode(fs_), "growing");
    }

    // All that it held are descriptors now. The group in which a block became free.
    Result<std::uint32_t> release_resize_inode() {
        ext2_inode inode{};
        TRY(filesystem_.check(ext2fs_read_inode(fs_, EXT2_RESIZE_INO, &inode), "reading"));
        const std::uint32_t root = inode.i_block[disk::double_indirect];
        const std::uint32_t group = after_.group_of(root);
        const std::uint64_t index = root - after_.group_start(group);
        TRY(volume_.read(ext2fs_block_bitmap_loc(fs_, group) * after_.block_bytes, bits_));
        if ((after_.has_flags() && ext2fs_bg_flags_test(fs_, group, EXT2_BG_BLOCK_UNINIT)) ||
            !bit_at(bits_, index))
            return fail(ErrorKind::corrupt,
                        "the file system's resize inode has a block that is free; run e2fsck on it");
        fill_bits(bits_, index, index + 1, false);
        TRY(write_block_bitmap(group));
        set_free_blocks(group, ext2fs_bg_free_blocks_count(fs_, group) + 1);
        ext2fs_group_desc_csum_set(fs_, group);
        ++free_blocks_;
        ext2_inode nothing{};
        TRY(filesystem_.check(ext2fs_write_inode(fs_, EXT2_RESIZE_INO, &nothing), "writing"));
        return group;
    }

    void finish_superblock() {
        ext2_super_block& super = *fs_->super;
        ext2fs_free_blocks_count_set(&super, ext2fs_free_blocks_count(&super) + free_blocks_);
        super.s_free_inodes_count += (after_.groups - before_.groups) * after_.inodes_per_group;
        // the same part of all blocks as before
        __extension__ typedef unsigned __int128 Wide;
        const Wide reserved = Wide{ext2fs_r_blocks_count(&super)} * after_.blocks / before_.blocks;
        ext2fs_r_blocks_count_set(&super, static_cast<std::uint64_t>(reserved));
        // 0: nobody has counted yet
        if (super.s_overhead_clusters != 0) {
            const std::uint64_t overhead = super.s_overhead_clusters + overhead_;
            super.s_overhead_clusters = overhead <= ~0u ? static_cast<std::uint32_t>(overhead) : 0;
        }
    }

    Volume& volume_;
    Filesystem& filesystem_;
    ext2_filsys fs_;
    const Geometry& before_;
    const Geometry& after_;
    Progress& progress_;
    Bytes bits_;
    std::uint64_t free_blocks_ = 0;  // more than before
    std::uint64_t overhead_ = 0;     // likewise
};

}  // namespace

Result<Growth> grow(Volume& volume, Progress& progress) {
    const Superblock superblock = TRY(read_superblock(volume));
    TRY(check_ready(volume, superblock));
    const Geometry& before = superblock.geometry;
    const Geometry after = TRY(grown(before, volume.size()));
    Growth growth{before.bytes(), after.bytes(), before.groups, after.groups, {}};
    if (after.blocks == before.blocks) return growth;
    // all bitmaps of a file system that is not large: what is damaged shall be mended before it grows
    constexpr std::uint32_t checked_groups_max = 1024;
    TRY(verify(volume, Scope{.first_group = before.groups <= checked_groups_max ? 0 : before.groups - 1,
                             .resize_inode_group = !after.has(disk::has_resize_inode)}));
    Filesystem filesystem = TRY(Filesystem::open(volume));
    growth.released_in = TRY(Growing(volume, filesystem, before, after, progress).run());
    return growth;
}

}  // namespace qimg::guest::ext4
