// Makes an XFS file system as long as the volume that it lies on, as the kernel does it while it is mounted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "guest/volume.hpp"
#include "qimg/error.hpp"
#include "qimg/progress.hpp"

namespace qimg::guest::xfs {

struct Growth {
    std::uint64_t old_bytes = 0;
    std::uint64_t new_bytes = 0;  // equal to old_bytes: nothing to grow, and nothing was written
    std::uint32_t old_groups = 0;
    std::uint32_t new_groups = 0;
};

// Fills volume.size() in whole blocks: the last allocation group becomes as long as the others, then new ones follow; a
// rest of less than 64 blocks stays unused. All copies of the superblock are written anew.
//
// unsupported comes before anything is written; after any other error the volume has to be thrown away. Ends with
// what verify() accepts.
// in_use: mounted, or not unmounted cleanly; corrupt: a rule of the format is broken; unsupported: with the reason;
// cancelled. Progress counts groups.
Result<Growth> grow(Volume& volume, Progress& progress);

}  // namespace qimg::guest::xfs
