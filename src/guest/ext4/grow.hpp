// Makes an ext2, ext3 or ext4 file system as long as the volume that it lies on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "guest/volume.hpp"
#include "qimg/error.hpp"
#include "qimg/progress.hpp"

namespace qimg::guest::ext4 {

struct Growth {
    std::uint64_t old_bytes = 0;
    std::uint64_t new_bytes = 0;  // equal to old_bytes: nothing to grow, and nothing was written
    std::uint32_t old_groups = 0;
    std::uint32_t new_groups = 0;
    // An older group whose bitmap changed, too: that of a block of the resize inode, which is not needed any more.
    std::optional<std::uint32_t> released_in;
};

// Fills volume.size(), in whole blocks (and whole 4096 bytes); a rest that is too small for a group stays unused. New
// groups have the same number of inodes, and keep their metadata among themselves; their inode tables are zeroed. When
// the descriptor blocks that are reserved for growth run out, further ones go into meta groups, as the kernel does it.
//
// Writes in any order: after an error the volume has to be thrown away. Ends with what verify() accepts.
// in_use: mounted, or not unmounted cleanly, or its journal is not replayed; corrupt: a rule of the format is broken,
// or marked as having errors; unsupported: with the reason; cancelled. Progress counts groups.
Result<Growth> grow(guest::Volume& volume, Progress& progress);

}  // namespace qimg::guest::ext4
