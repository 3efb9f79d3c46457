// Whether the device is being replaced by another one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "guest/btrfs/superblock.hpp"

namespace qimg::guest::btrfs {

// in_use: a replacement was begun and is neither finished nor cancelled. The other device, which is nowhere else
// mentioned, would be too short afterwards. Follows the tree of roots to the tree of devices; corrupt names the rule
// that is broken on the way. Reads a block of each level, and for each of them the way through the chunk tree.
Result<void> check_no_replacement(const Volume& volume, const Superblock& superblock);

}  // namespace qimg::guest::btrfs
