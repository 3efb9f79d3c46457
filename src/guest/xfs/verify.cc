// Sums over all groups, and what a new group holds.
// SPDX-License-Identifier: Apache-2.0
#include "guest/xfs/verify.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/xfs/group.hpp"

namespace qimg::guest::xfs {

namespace {

// A group as it is made: free but for its headers and one block for each tree.
class EmptyGroupCheck {
  public:
    EmptyGroupCheck(const Volume& volume, const Geometry& geometry, const GroupHeaders& headers)
        : volume_(volume),
          g_(geometry),
          headers_(headers),
          group_(headers.space.group),
          bytes_(g_.block_bytes) {}

    Result<void> check(const FreeSpace& found) {
        const std::uint32_t blocks = g_.blocks_in(group_);
        const auto& free = found.by_start.extents;
        if (free.size() != 1 || free[0].end() != blocks || !found.list.empty() || headers_.inodes.count != 0)
            return wrong("it is not empty");
        TRY(check_empty(headers_.inodes.root, disk::inode_tree_magic));
        if (g_.has(disk::free_inode_tree))
            TRY(check_empty(headers_.inodes.free_root, disk::free_inode_magic));
        if (g_.has(disk::reflink))
            TRY(check_empty(headers_.space.reference_count_root, disk::reference_count_magic));
        if (g_.has(disk::reverse_map)) TRY(check_reverse_map(free[0].start));
        for (const be32& head : headers_.inodes.unlinked) {
            if (head != disk::no_block) return wrong("its unlinked inodes");
        }
        return {};
    }

  private:
    std::unexpected<Error> wrong(std::string_view what) const {
        return broken(fmt::format("allocation group {} is new: {}", group_, what));
    }

    Result<disk::TreeBlock> read_root(std::uint32_t block, std::uint32_t magic) {
        const disk::TreeBlock header = TRY(read_tree_block(volume_, g_, group_, block, magic, 0, bytes_));
        if (header.left != disk::no_block || header.right != disk::no_block)
            return wrong("a root has neighbours");
        return header;
    }

    Result<void> check_empty(std::uint32_t block, std::uint32_t magic) {
        const disk::TreeBlock header = TRY(read_root(block, magic));
        return header.count == 0 ? Result<void>() : wrong("a tree has records");
    }

    // All blocks in front of the free ones belong to somebody, once.
    Result<void> check_reverse_map(std::uint32_t first_free) {
        const disk::TreeBlock header =
            TRY(read_root(headers_.space.reverse_map_root, disk::reverse_map_magic));
        std::uint64_t next = 0;
        for (std::size_t i = 0; i < std::min<std::size_t>(header.count, 5); ++i) {
            const auto record = load<disk::ReverseMapping>(
                std::span(bytes_).subspan(sizeof(disk::TreeBlock) + i * sizeof(disk::ReverseMapping)));
            if (record.start != next || record.count == 0 || record.offset != 0)
                return wrong("its reverse map");
            next += record.count;
        }
        return next == first_free ? Result<void>() : wrong("its reverse map");
    }

    const Volume& volume_;
    const Geometry& g_;
    const GroupHeaders& headers_;
    std::uint32_t group_;
    Bytes bytes_;
};

// As the first one, but for its place in the log.
Result<void> check_copy(const Volume& volume, const Geometry& g, std::uint32_t group, Bytes original) {
    Bytes copy(g.sector_bytes);
    TRY(volume.read(g.sector_at(group, 0), copy));
    if (!has_checksum(copy, offsetof(disk::Superblock, checksum)))
        return broken(fmt::format("the checksum of the superblock in allocation group {}", group));
    for (Bytes* one : {&original, &copy}) {
        store(std::span(*one).subspan(offsetof(disk::Superblock, checksum)), le32(0));
        store(std::span(*one).subspan(offsetof(disk::Superblock, lsn)), be64(0));
    }
    if (copy == original) return {};
    return broken(fmt::format("the superblock in allocation group {} is not a copy of the first one", group));
}

struct Sums {
    std::uint64_t blocks = 0, inodes = 0, free_inodes = 0;

    // Blocks of the trees that take and give them are free in this sense.
    void add(const GroupHeaders& one) {
        blocks += std::uint64_t{one.space.free_blocks} + one.space.list_count + one.space.tree_blocks;
        inodes += one.inodes.count;
        free_inodes += one.inodes.free_count;
    }

    Result<void> check(const disk::Superblock& raw) const {
        if (blocks != raw.free_blocks) return broken("its number of free blocks");
        if (inodes != raw.inodes || free_inodes != raw.free_inodes) return broken("its number of inodes");
        return {};
    }
};

}  // namespace

Result<void> verify(const Volume& volume, const Scope& scope) {
    const Superblock superblock = TRY(open(volume));
    const Geometry& g = superblock.geometry;
    Bytes sector(g.sector_bytes);
    TRY(volume.read(0, sector));
    Sums sums;
    for (std::uint32_t group = 0; group < g.groups; ++group) {
        const GroupHeaders headers = TRY(read_headers(volume, g, group));
        sums.add(headers);
        if (scope.copies && group != 0) TRY(check_copy(volume, g, group, sector));
        if (group < scope.first_group) continue;
        const FreeSpace found = TRY(read_free_space(volume, g, headers));
        if (group >= scope.first_empty_group) TRY(EmptyGroupCheck(volume, g, headers).check(found));
    }
    return sums.check(superblock.raw);
}

Result<void> verify(const Volume& volume, const Growth& growth) {
    const Superblock superblock = TRY(read_superblock(volume));
    if (superblock.geometry.bytes() != growth.new_bytes || superblock.geometry.groups != growth.new_groups)
        return broken("it has not the size that it was grown to");
    return verify(
        volume,
        Scope{.first_group = growth.old_groups - 1, .first_empty_group = growth.old_groups, .copies = true});
}

}  // namespace qimg::guest::xfs
