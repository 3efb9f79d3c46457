// NewImage: an image in the making, laid out and open for writing, that nobody sees before it is committed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "format/format.hpp"
#include "qimg/operations/create.hpp"

namespace qimg {

struct NewFiles {
    std::unique_ptr<NewFile> image;
    std::unique_ptr<NewFile> data;  // null: the image's own file has the data

    // Gives them their names, once the format is flushed. First the data file: an image without it is none.
    Result<void> commit();
};

struct NewImage {
    NewFiles files;
    std::unique_ptr<Format> format;  // stands on `files`: to be destroyed first
    bool space_is_zero = true;       // what is newly allocated reads as zeroes; not so on a block device
};

// Checks the options, begins the data file if there is one, and preallocates. The backing file is looked
// at only to pin it. `size` is in bytes, a multiple of 512. Errors: those of create.
Result<NewImage> begin_image(const CreateOptions& options, std::uint64_t size, Opener& opener,
                             Progress& progress);

}  // namespace qimg
