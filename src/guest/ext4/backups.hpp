// The copies of superblock and descriptors, which recovery tools go to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "guest/ext4/geometry.hpp"

namespace qimg::guest::ext4 {

// corrupt when a copy is not as the first one; in a copied superblock its group's number and its checksum, the state
// and what the kernel changes in the first alone may differ. Holds a mebibyte.
Result<void> check_backups(const Volume& volume, const Geometry& geometry);

}  // namespace qimg::guest::ext4
