// NewImage: an image in the making, laid out and open for writing, that nobody sees before it is committed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "format/format.hpp"
#include "qimg/operations/create.hpp"

namespace qimg {

struct NewImage {
    std::unique_ptr<NewFile> file;   // commit() once the format is flushed
    std::unique_ptr<Format> format;  // stands on `file`: to be destroyed first
    bool space_is_zero = true;       // what is newly allocated reads as zeroes; not so on a block device
};

// Checks the options, makes the data file if there is one, and preallocates. The backing file is looked
// at only to pin it. `size` is in bytes, a multiple of 512. Errors: those of create.
Result<NewImage> begin_image(const CreateOptions& options, std::uint64_t size, Opener& opener,
                             Progress& progress);

}  // namespace qimg
