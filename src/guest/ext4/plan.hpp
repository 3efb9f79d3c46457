// What a file system becomes when it grows, before anything is written: its new geometry, and where the metadata of
// new groups goes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "guest/ext4/geometry.hpp"

namespace qimg::guest::ext4 {

// The largest that fits into as many bytes, at least what it is now. unsupported when the features do not allow it,
// with the reason.
Result<Geometry> grown(const Geometry& before, std::uint64_t volume_bytes);

// Places of one group's metadata.
struct Placement {
    std::uint64_t block_bitmap = 0;
    std::uint64_t inode_bitmap = 0;
    std::uint64_t inode_table = 0;
};

// The end of the groups that are placed together with `first`, which is new: those of its flexible group.
std::uint32_t placement_end(const Geometry& geometry, std::uint32_t first);

// Bitmaps and inode tables of the new groups from `first` to `end`: one kind after the other from the start of the
// first on, behind what each group begins with; a table does not cross into the next group. When they do not fit like
// that, each group gets its own. unsupported when that fails, too.
Result<std::vector<Placement>> place(const Geometry& geometry, std::uint32_t first, std::uint32_t end);

}  // namespace qimg::guest::ext4
