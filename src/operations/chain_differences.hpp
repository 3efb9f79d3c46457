// What an overlay shows of its backing chain and another chain does not have.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "qimg/error.hpp"
#include "qimg/image.hpp"
#include "qimg/progress.hpp"

namespace qimg {

// Copies what guests see through unallocated clusters of `overlay` into it, where they would see something
// else if `other` (null: nothing) were its backing image. What both chains take from the same place of the
// same file is not read. Returns how many bytes were copied; flushes nothing.
Result<std::uint64_t> keep_differences(Image& overlay, const Image* other, bool compress, Progress& progress);

}  // namespace qimg
