// Bitmaps and sums; descriptors, copies and the resize inode are checked in files of their own.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/verify.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/ext4/backups.hpp"
#include "guest/ext4/bits.hpp"
#include "guest/ext4/groups.hpp"
#include "guest/ext4/resize_inode.hpp"

namespace qimg::guest::ext4 {

namespace {

std::unexpected<Error> broken(std::string_view rule) {
    return fail(ErrorKind::corrupt, fmt::format("the file system is damaged: {}; run e2fsck on it", rule));
}

class BitmapCheck {
  public:
    BitmapCheck(const Volume& volume, const Geometry& geometry, std::span<const Claim> claims,
                const Scope& scope)
        : volume_(volume),
          g_(geometry),
          claims_(claims),
          scope_(scope),
          found_(g_.block_bytes),
          expected_(g_.block_bytes) {}

    Result<void> check(std::uint32_t number, const Group& group) {
        TRY(check_blocks(number, group));
        return check_inodes(number, group);
    }

  private:
    std::span<const Claim> claims_in(std::uint32_t number) const {
        const std::uint64_t start = g_.group_start(number);
        return claims_within(claims_, start, start + g_.group_blocks(number));
    }

    // The part of a claim that lies in the group, counted from the group's start.
    BlockRun part_in(std::uint32_t number, const Claim& claim) const {
        const std::uint64_t start = g_.group_start(number);
        const std::uint64_t from = std::max(claim.run.start, start) - start;
        const std::uint64_t to = std::min<std::uint64_t>(claim.run.end() - start, g_.group_blocks(number));
        return {from, static_cast<std::uint32_t>(to - from)};
    }

    // The bits that metadata alone sets, with the padding behind the group's blocks.
    void expect_blocks(std::uint32_t number) {
        std::ranges::fill(expected_, std::byte{0});
        fill_bits(expected_, g_.group_blocks(number), 8ull * g_.block_bytes, true);
        for (const Claim& claim : claims_in(number)) {
            const BlockRun part = part_in(number, claim);
            fill_bits(expected_, part.start, part.end(), true);
        }
    }

    Result<void> check_blocks(std::uint32_t number, const Group& group) {
        std::uint32_t free = g_.group_blocks(number);
        bool has_others = false;
        for (const Claim& claim : claims_in(number)) {
            free -= part_in(number, claim).count;
            has_others |= claim.group != number;
        }
        if (group.is(disk::block_uninit)) {
            if (has_others || group.free_blocks != free)
                return broken(fmt::format("group {} has no block bitmap and is not empty", number));
            return {};
        }
        TRY(volume_.read(group.block_bitmap * g_.block_bytes, found_));
        if (!has_checksum(g_, std::span(found_).first(g_.blocks_per_group / 8), group.block_bitmap_checksum))
            return broken(fmt::format("the checksum of group {}'s block bitmap", number));
        expect_blocks(number);
        if (number >= scope_.first_empty_group) {
            if (group.free_blocks != free || std::memcmp(found_.data(), expected_.data(), found_.size()) != 0)
                return broken(
                    fmt::format("group {} is new and its block bitmap is not that of its metadata", number));
            return {};
        }
        if (!contains(found_, expected_))
            return broken(fmt::format("group {}'s block bitmap has metadata as free", number));
        if (count_zeroes(found_) != group.free_blocks)
            return broken(fmt::format("group {}'s number of free blocks", number));
        return {};
    }

    static bool contains(std::span<const std::byte> bits, std::span<const std::byte> part) {
        for (std::size_t i = 0; i < bits.size(); ++i) {
            if ((bits[i] & part[i]) != part[i]) return false;
        }
        return true;
    }

    Result<void> check_inodes(std::uint32_t number, const Group& group) {
        const bool is_empty = number >= scope_.first_empty_group || group.is(disk::inode_uninit);
        if (is_empty && group.free_inodes != g_.inodes_per_group)
            return broken(fmt::format("group {} has no inodes in use and not all free", number));
        if (group.is(disk::inode_uninit)) return {};
        TRY(volume_.read(group.inode_bitmap * g_.block_bytes, found_));
        const auto bits = std::span<const std::byte>(found_);
        if (!has_checksum(g_, bits.first(g_.inodes_per_group / 8), group.inode_bitmap_checksum))
            return broken(fmt::format("the checksum of group {}'s inode bitmap", number));
        if (count_zeroes(bits.first(g_.inodes_per_group / 8)) != group.free_inodes)
            return broken(fmt::format("group {}'s number of free inodes", number));
        if (count_zeroes(bits.subspan(g_.inodes_per_group / 8)) != 0)
            return broken(fmt::format("the padding of group {}'s inode bitmap", number));
        return {};
    }

    const Volume& volume_;
    const Geometry& g_;
    std::span<const Claim> claims_;
    const Scope& scope_;
    Bytes found_, expected_;
};

Result<void> check_sums(const Superblock& superblock, std::span<const Group> groups) {
    std::uint64_t blocks = 0, inodes = 0;
    for (const Group& group : groups) {
        blocks += group.free_blocks;
        inodes += group.free_inodes;
    }
    const disk::Superblock& raw = superblock.raw;
    const std::uint32_t high =
        superblock.geometry.has(disk::wide) ? std::uint32_t{raw.free_blocks_count_hi} : 0;
    if (blocks != joined(raw.free_blocks_count_lo, high)) return broken("its number of free blocks");
    if (inodes != raw.free_inodes_count) return broken("its number of free inodes");
    return {};
}

}  // namespace

Result<void> verify(const Volume& volume, const Scope& scope) {
    const Superblock superblock = TRY(read_superblock(volume));
    const Geometry& g = superblock.geometry;
    const std::vector<Group> groups = TRY(read_groups(volume, g));
    TRY(check_sums(superblock, groups));
    const std::vector<Claim> claims = TRY(claims_of(g, groups));
    BitmapCheck bitmaps(volume, g, claims, scope);
    if (scope.another_group && *scope.another_group < std::min(scope.first_group, g.groups))
        TRY(bitmaps.check(*scope.another_group, groups[*scope.another_group]));
    for (std::uint32_t number = scope.first_group; number < g.groups; ++number)
        TRY(bitmaps.check(number, groups[number]));
    const std::uint64_t root = TRY(check_resize_inode(volume, g, groups, claims));
    if (scope.resize_inode_group && root != 0) TRY(bitmaps.check(g.group_of(root), groups[g.group_of(root)]));
    if (scope.backups) TRY(check_backups(volume, g));
    return {};
}

Result<void> verify(const Volume& volume, const Growth& growth) {
    const Superblock superblock = TRY(read_superblock(volume));
    if (superblock.geometry.bytes() != growth.new_bytes || superblock.geometry.groups != growth.new_groups)
        return broken("it has not the size that it was grown to");
    return verify(volume, Scope{.first_group = growth.old_groups - 1,
                                .another_group = growth.released_in,
                                .first_empty_group = growth.old_groups,
                                .backups = true});
}

}  // namespace qimg::guest::ext4
