// resize: a longer or shorter disk, in place.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qimg/image.hpp"
#include "qimg/operations/create.hpp"
#include "qimg/progress.hpp"
#include "qimg/size_text.hpp"

namespace qimg {

struct ResizeOptions {
    std::string path;
    OpenOptions open;
    SizeChange size;
    bool shrink = false;                               // allow the loss of data behind the new end
    Preallocation preallocation = Preallocation::off;  // of the part that is added
};

struct ResizeReport {
    std::uint64_t old_size = 0;
    std::uint64_t new_size = 0;
};

// Crash-safe: the image has the old or the new size. Errors: invalid_argument (shrinking that was not
// allowed, size out of range), unsupported, and those of Image::open.
Result<ResizeReport> resize(const ResizeOptions& options, Opener& opener = file_opener(),
                            Progress& progress = no_progress());

}  // namespace qimg
