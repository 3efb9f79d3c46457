// bitmap: the persistent dirty bitmaps of a qcow2 image. Each records which parts of the disk were written
// since it was made or cleared.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/image.hpp"

namespace qimg {

enum class BitmapAction {
    add,
    remove,
    remove_all,  // whatever their names are
    clear,
    enable,
    disable,
    merge,
};

struct BitmapStep {
    BitmapAction action = BitmapAction::add;
    std::string source;  // merge: the bitmap whose bits are added
};

struct BitmapSource {
    std::string path;
    OpenOptions open;
};

struct BitmapOptions {
    std::string path;
    OpenOptions open;
    std::string name;                     // of the bitmap
    std::vector<BitmapStep> steps;        // in this order
    std::uint64_t granularity_bytes = 0;  // of new bitmaps: a power of two, 512 to 2 GiB; 0: by cluster size
    std::optional<BitmapSource> source;   // merge: the image that has the other bitmap; absent: this one
};

// Runs the steps and brings them to the file in one change. When a step fails, those before it are done, as
// with qemu-img, but none when the image could not be read. Errors: those of Image::open; exists, not_found, invalid_argument, no_space; unsupported
// for images without bitmaps; corrupt for one that is marked as in use and is not removed.
Result<void> change_bitmaps(const BitmapOptions& options, Opener& opener = file_opener());

}  // namespace qimg
