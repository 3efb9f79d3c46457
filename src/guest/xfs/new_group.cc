// Headers and roots of trees, one behind the other.
// SPDX-License-Identifier: Apache-2.0
#include "guest/xfs/new_group.hpp"

#include <algorithm>
#include <vector>

namespace qimg::guest::xfs {

namespace {

class NewGroup {
  public:
    NewGroup(const Geometry& geometry, std::uint32_t group)
        : g_(geometry),
          places_(empty_group(geometry)),
          group_(group),
          blocks_(geometry.blocks_in(group)),
          bytes_(std::size_t{places_.first_free} * geometry.block_bytes) {}

    Bytes make(std::span<const std::byte> superblock) && {
        std::ranges::copy(superblock, bytes_.begin());
        put_space();
        put_inodes();
        put_list();
        const disk::Extent free{places_.first_free, blocks_ - places_.first_free};
        put_root(places_.by_start, disk::by_start_magic, std::vector{free});
        put_root(places_.by_count, disk::by_count_magic, std::vector{free});
        const std::vector<disk::Extent> nothing;
        put_root(places_.inode_tree, disk::inode_tree_magic, nothing);
        if (places_.free_inode_tree != 0) put_root(places_.free_inode_tree, disk::free_inode_magic, nothing);
        if (places_.reverse_map != 0) put_root(places_.reverse_map, disk::reverse_map_magic, mappings());
        if (places_.reference_counts != 0)
            put_root(places_.reference_counts, disk::reference_count_magic, nothing);
        return std::move(bytes_);
    }

  private:
    std::span<std::byte> sector(std::uint32_t number) {
        return std::span(bytes_).subspan(std::size_t{number} * g_.sector_bytes, g_.sector_bytes);
    }

    void put_space() {
        disk::FreeSpace h{};
        h.magic = disk::free_space_magic;
        h.version = 1;
        h.group = group_;
        h.blocks = blocks_;
        h.by_start_root = places_.by_start;
        h.by_count_root = places_.by_count;
        h.by_start_levels = h.by_count_levels = 1;
        h.list_first = 1;  // the list is empty: it ends before it begins
        h.free_blocks = h.longest = blocks_ - places_.first_free;
        h.uuid = g_.uuid;
        if (places_.reverse_map != 0) {
            h.reverse_map_root = places_.reverse_map;
            h.reverse_map_levels = h.reverse_map_blocks = 1;
        }
        if (places_.reference_counts != 0) {
            h.reference_count_root = places_.reference_counts;
            h.reference_count_levels = h.reference_count_blocks = 1;
        }
        store(sector(1), h);
        set_checksum(sector(1), offsetof(disk::FreeSpace, checksum));
    }

    void put_inodes() {
        disk::Inodes h{};
        h.magic = disk::inodes_magic;
        h.version = 1;
        h.group = group_;
        h.blocks = blocks_;
        h.root = places_.inode_tree;
        h.levels = 1;
        h.newest = h.directory = disk::no_block;
        h.unlinked.fill(disk::no_block);
        h.uuid = g_.uuid;
        if (places_.free_inode_tree != 0) {
            h.free_root = places_.free_inode_tree;
            h.free_levels = 1;
        }
        if (g_.has(disk::inode_tree_counts)) {
            h.tree_blocks = 1;
            h.free_tree_blocks = places_.free_inode_tree != 0 ? 1 : 0;
        }
        store(sector(2), h);
        set_checksum(sector(2), offsetof(disk::Inodes, checksum));
    }

    void put_list() {
        const auto bytes = sector(3);
        disk::FreeList h{};
        h.magic = disk::free_list_magic;
        h.group = group_;
        h.uuid = g_.uuid;
        store(bytes, h);
        for (std::uint32_t i = 0; i < g_.list_entries(); ++i)
            store(bytes.subspan(sizeof h + std::size_t{i} * sizeof(be32)), be32(disk::no_block));
        set_checksum(bytes, offsetof(disk::FreeList, checksum));
    }

    // Everything that is not free, and whose it is.
    std::vector<disk::ReverseMapping> mappings() const {
        const EmptyGroup& p = places_;
        std::vector<disk::ReverseMapping> found;
        const auto add = [&](std::uint32_t start, std::uint32_t end, std::uint64_t owner) {
            found.push_back({start, end - start, owner, std::uint64_t{0}});
        };
        add(0, p.by_start, disk::owner_headers);
        add(p.by_start, p.inode_tree, disk::owner_group);
        add(p.inode_tree, p.reverse_map, disk::owner_inode_trees);
        add(p.reverse_map, p.reverse_map + 1, disk::owner_group);
        if (p.reference_counts != 0)
            add(p.reference_counts, p.reference_counts + 1, disk::owner_reference_counts);
        return found;
    }

    template <class Record>
    void put_root(std::uint32_t block, std::uint32_t magic, const std::vector<Record>& records) {
        const auto bytes = std::span(bytes_).subspan(std::size_t{block} * g_.block_bytes, g_.block_bytes);
        disk::TreeBlock h{};
        h.magic = magic;
        h.count = static_cast<std::uint16_t>(records.size());
        h.left = h.right = disk::no_block;
        h.place = g_.block_at(group_, block) / disk::place_unit;
        h.uuid = g_.uuid;
        h.group = group_;
        store(bytes, h);
        for (std::size_t i = 0; i < records.size(); ++i)
            store(bytes.subspan(sizeof h + i * sizeof(Record)), records[i]);
        set_checksum(bytes, offsetof(disk::TreeBlock, checksum));
    }

    const Geometry& g_;
    EmptyGroup places_;
    std::uint32_t group_;
    std::uint32_t blocks_;
    Bytes bytes_;
};

}  // namespace

Bytes new_group(const Geometry& geometry, std::uint32_t group, std::span<const std::byte> superblock) {
    return NewGroup(geometry, group).make(superblock);
}

}  // namespace qimg::guest::xfs
