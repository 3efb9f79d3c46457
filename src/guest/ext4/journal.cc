// Finds the first block of the journal's inode, and reads it. Nothing is replayed.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/journal.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <span>

#include "base/bytes.hpp"
#include "base/try.hpp"

namespace qimg::guest::ext4 {

namespace {

std::unexpected<Error> broken() {
    return fail(ErrorKind::corrupt, "the file system's journal cannot be found; run e2fsck on it");
}

Result<disk::Inode> read_inode(const Volume& volume, const Geometry& g, std::uint32_t number) {
    disk::GroupDescriptor descriptor{};
    Bytes bytes(g.descriptor_bytes);
    TRY(volume.read(g.descriptor_block(0) * g.block_bytes, bytes));
    std::memcpy(&descriptor, bytes.data(), bytes.size());
    const std::uint64_t table = joined(descriptor.inode_table_lo, descriptor.inode_table_hi);
    if (number == 0 || number > g.inodes_per_group || table >= g.blocks ||
        g.inode_table_blocks() > g.blocks - table)
        return broken();
    std::array<std::byte, sizeof(disk::Inode)> inode;
    TRY(volume.read(table * g.block_bytes + std::uint64_t{number - 1} * g.inode_bytes, inode));
    return load<disk::Inode>(inode);
}

// The block that the first extent of a tree leads to.
Result<std::uint64_t> first_extent(const Volume& volume, const Geometry& g, std::span<const std::byte> root) {
    constexpr std::uint32_t depth_max = 5;
    Bytes node(root.begin(), root.end());
    for (std::uint32_t level = 0; level <= depth_max; ++level) {
        const auto header = load<disk::ExtentHeader>(node);
        if (header.magic != disk::extent_magic || header.entries == 0) return broken();
        const auto entry = std::span<const std::byte>(node).subspan(sizeof header);
        if (header.depth == 0) {
            const auto extent = load<disk::Extent>(entry);
            if (extent.block != 0) return broken();
            return joined(extent.start_lo, extent.start_hi);
        }
        const auto index = load<disk::ExtentIndex>(entry);
        const std::uint64_t leaf = joined(index.leaf_lo, index.leaf_hi);
        if (leaf >= g.blocks) return broken();
        node.resize(g.block_bytes);
        TRY(volume.read(leaf * g.block_bytes, node));
    }
    return broken();
}

}  // namespace

Result<void> check_journal(const Volume& volume, const Superblock& superblock) {
    const Geometry& g = superblock.geometry;
    const std::uint32_t number = superblock.raw.journal_inum;
    if (!g.has(disk::has_journal) || (number == 0 && superblock.raw.journal_dev != 0)) return {};
    const disk::Inode inode = TRY(read_inode(volume, g, number));
    std::array<std::byte, sizeof inode.block> root;
    store(std::span(root), inode.block);
    std::uint64_t first = inode.block[0];
    if ((inode.flags & disk::has_extents) != 0) first = TRY(first_extent(volume, g, root));
    if (first <= g.first_data_block || first >= g.blocks) return broken();
    std::array<std::byte, sizeof(disk::JournalSuperblock)> bytes;
    TRY(volume.read(first * g.block_bytes, bytes));
    const auto journal = load<disk::JournalSuperblock>(bytes);
    if (journal.magic != disk::journal_magic) return broken();
    if (journal.error != 0)
        return fail(ErrorKind::corrupt, "the file system's journal has noted an error; run e2fsck on it");
    if (journal.start == 0) return {};
    return fail(
        ErrorKind::in_use,
        "the file system's journal is not empty; start and shut down its machine once, or run e2fsck on it");
}

}  // namespace qimg::guest::ext4
