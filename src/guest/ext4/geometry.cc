// Conversions between groups, blocks and copies of descriptors; nothing is read here.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/geometry.hpp"

#include <algorithm>

namespace qimg::guest::ext4 {

namespace {

bool is_power_of(std::uint32_t number, std::uint32_t base) {
    std::uint64_t power = base;
    while (power < number)
        power *= base;
    return power == number;
}

}  // namespace

std::uint32_t Geometry::group_blocks(std::uint32_t group) const {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks_per_group, blocks - group_start(group)));
}

std::uint32_t Geometry::inode_table_blocks() const {
    const std::uint64_t bytes = std::uint64_t{inodes_per_group} * inode_bytes;
    return static_cast<std::uint32_t>((bytes - 1) / block_bytes + 1);
}

// "Sparse superblocks": groups 0 and 1, and powers of 3, 5 and 7
bool Geometry::has_superblock(std::uint32_t group) const {
    if (group == 0) return true;
    if (has(disk::sparse_super2)) return group == backup_groups[0] || group == backup_groups[1];
    if (group == 1 || !has(disk::sparse_super)) return true;
    return is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

std::uint32_t Geometry::base_blocks(std::uint32_t group) const {
    const std::uint32_t super = has_superblock(group) ? 1 : 0;
    const std::uint32_t per_block = descriptors_per_block();
    if (has(disk::meta_bg) && group / per_block >= first_meta_block) {
        const std::uint32_t place = group % per_block;
        return super + (place == 0 || place == 1 || place == per_block - 1 ? 1 : 0);
    }
    return super == 0 ? 0 : super + legacy_descriptor_blocks() + reserved_descriptor_blocks;
}

std::uint64_t Geometry::descriptor_block(std::uint32_t number) const {
    if (number < legacy_descriptor_blocks()) return std::uint64_t{first_data_block} + 1 + number;
    const std::uint32_t group = number * descriptors_per_block();
    return group_start(group) + (has_superblock(group) ? 1 : 0);
}

}  // namespace qimg::guest::ext4
