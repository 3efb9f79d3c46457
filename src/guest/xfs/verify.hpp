// Whether the metadata of an XFS file system is whole, judged by its bytes alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "guest/volume.hpp"
#include "guest/xfs/grow.hpp"

namespace qimg::guest::xfs {

// What is looked at besides the superblock, the log's end and the headers of all groups.
struct Scope {
    std::uint32_t first_group = 0;          // free space of this group and of all behind it
    std::uint32_t first_empty_group = ~0u;  // these hold nothing
    bool copies = false;                    // of the superblock, which say what it says
};

// Checks headers (checksum, length, roots in bounds), the sums of free blocks and inodes; within the scope both trees
// of free space (order, bounds, that they agree with each other, the header and the free list), and in an empty group
// all other trees. corrupt names the first rule that is broken. Work follows the number of groups and of pieces of free
// space in the scope; memory the latter in one group.
Result<void> verify(const Volume& volume, const Scope& scope);

// What grow() has changed, and that the file system fills the volume as said.
Result<void> verify(const Volume& volume, const Growth& growth);

}  // namespace qimg::guest::xfs
