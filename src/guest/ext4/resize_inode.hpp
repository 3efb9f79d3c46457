// The resize inode: the file that holds the blocks reserved for descriptors, in the group of each superblock. Its
// double indirect block leads to the reserved blocks of group 0, and each of those to its counterparts elsewhere.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "guest/ext4/groups.hpp"

namespace qimg::guest::ext4 {

// The double indirect block. corrupt when the inode, or a block that it leads to, is not what reserved descriptor blocks
// ask for, or when the double indirect block lies in other metadata. 0 without the feature.
Result<std::uint64_t> check_resize_inode(const Volume& volume, const Geometry& geometry,
                                         std::span<const Group> groups, std::span<const Claim> claims);

}  // namespace qimg::guest::ext4
