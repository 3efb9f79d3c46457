// Follows the resize inode to every block that it is made of.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/resize_inode.hpp"

#include <fmt/core.h>

#include <vector>

#include "base/bytes.hpp"
#include "base/try.hpp"

namespace qimg::guest::ext4 {

namespace {

std::unexpected<Error> broken(std::string_view rule) {
    return fail(ErrorKind::corrupt,
                fmt::format("the file system's resize inode is damaged: {}; run e2fsck on it", rule));
}

// Whether a block of pointers begins with these and has zeroes behind.
bool holds(std::span<const std::byte> block, std::span<const std::uint64_t> pointers) {
    for (std::size_t i = 0; i < block.size() / sizeof(le32); ++i) {
        const std::uint32_t found = load<le32>(block.subspan(i * sizeof(le32)));
        if (found != (i < pointers.size() ? pointers[i] : 0)) return false;
    }
    return true;
}

Result<std::uint64_t> root_of(const Volume& volume, const Geometry& g, const Group& first_group) {
    std::array<std::byte, sizeof(disk::Inode)> bytes;
    TRY(volume.read(first_group.inode_table * g.block_bytes + (disk::resize_inode - 1) * g.inode_bytes,
                    bytes));
    const auto inode = load<disk::Inode>(bytes);
    constexpr std::uint16_t type_mask = 0xf000, regular = 0x8000;
    if ((inode.mode & type_mask) != regular || inode.links_count == 0) return broken("it is no file");
    for (std::size_t i = 0; i < inode.block.size(); ++i) {
        if ((inode.block[i] != 0) != (i == disk::double_indirect)) return broken("it has other blocks");
    }
    const std::uint32_t root = inode.block[disk::double_indirect];
    if (root <= g.first_data_block || root >= g.blocks) return broken("its double indirect block");
    return root;
}

}  // namespace

Result<std::uint64_t> check_resize_inode(const Volume& volume, const Geometry& g,
                                         std::span<const Group> groups, std::span<const Claim> claims) {
    if (!g.has(disk::has_resize_inode)) return 0;
    const std::uint64_t root = TRY(root_of(volume, g, groups[0]));
    if (!claims_within(claims, root, root + 1).empty())
        return broken("its double indirect block is other metadata");
    std::vector<std::uint64_t> starts;
    for (std::uint32_t group = 1; group < g.groups; ++group) {
        if (g.has_superblock(group)) starts.push_back(g.group_start(group));
    }
    const std::size_t pointers = g.block_bytes / sizeof(le32);
    if (starts.size() > pointers) return broken("more backups than it has room for");
    Bytes block(g.block_bytes);
    TRY(volume.read(root * g.block_bytes, block));
    // the reserved blocks have the places of the descriptor blocks that they shall become
    std::vector<std::uint64_t> reserved(pointers, 0);
    for (std::uint32_t i = 0; i < g.reserved_descriptor_blocks; ++i) {
        const std::uint32_t number = g.descriptor_blocks() + i;
        reserved[number % pointers] = std::uint64_t{g.first_data_block} + 1 + number;
    }
    if (!holds(block, reserved)) return broken("its double indirect block");
    for (const std::uint64_t first : reserved) {
        if (first == 0) continue;
        TRY(volume.read(first * g.block_bytes, block));
        std::vector<std::uint64_t> counterparts = starts;
        for (std::uint64_t& counterpart : counterparts)
            counterpart += first - g.first_data_block;
        if (!holds(block, counterparts)) return broken(fmt::format("its indirect block {}", first));
    }
    return root;
}

}  // namespace qimg::guest::ext4
