// BlockStatus: what QEMU says of a part of a disk, to the flag. Two images are strictly the same when it says
// the same of each part.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "operations/extent_walk.hpp"
#include "qimg/image.hpp"

namespace qimg {

struct BlockStatus {
    bool data = false;       // has bytes in a file
    bool zero = false;       // reads as zeroes
    bool has_place = false;  // an offset in a file leads to it
    bool allocated = false;  // some image of the chain says what is there
    bool sparse = false;     // clusters may lie in holes of the file
    bool at_end = false;     // reaches the end of the disk

    friend bool operator==(const BlockStatus&, const BlockStatus&) = default;
};

// The longest part from the start of a range that has one status.
struct StatusRun {
    GuestRange range;
    BlockStatus status;
};

// `at` lies inside the disk.
Result<StatusRun> block_status(const Image& top, ExtentWalk& walk, GuestOffset at);

}  // namespace qimg
