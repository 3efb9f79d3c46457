// The journal, as far as it tells whether it is empty.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "guest/ext4/geometry.hpp"

namespace qimg::guest::ext4 {

// A journal that is not empty is replayed by e2fsck even where the superblock has no mark for that, and would bring
// old metadata back. in_use: it is not empty; corrupt: it cannot be found, or noted an error. Accepts a file system
// without a journal, or with one on another disk.
Result<void> check_journal(const Volume& volume, const Superblock& superblock);

}  // namespace qimg::guest::ext4
