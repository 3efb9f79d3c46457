// Changing the virtual size of a qcow2 image.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

// Errors: unsupported for version 2 with snapshots; no_space for a disk that the L1 table cannot reach.
Result<void> check_can_grow(const Qcow2& image, std::uint64_t bytes);

// Makes the disk longer. `fill` runs when guests' addresses up to `bytes` can be written, but before the new
// size is in the file: what it writes (zeroes over a longer backing file, preallocation) is there from the
// first moment that the new size is. Bitmaps go along, with what is added clean. Errors: unsupported for
// version 2 with snapshots; corrupt for a bitmap that is in use; no_space past the largest L1 table or bitmap.
Result<void> grow(Qcow2& image, std::uint64_t bytes, const std::function<Result<void>()>& fill);

// Makes the disk shorter and frees what lies behind its new end, in the file, too. `clear` runs when the new size is in the
// file, while addresses up to the end of the last cluster can still be written: zeroes there keep a program
// that makes the disk longer again from showing old data.
Result<void> shrink(Qcow2& image, std::uint64_t bytes, const std::function<Result<void>()>& clear);

// What tables say about clusters behind the end of a disk of `bytes` goes, and what they name there: guests see none of
// it, but would on a longer disk.
Result<void> cut_tables(Qcow2& image, std::uint64_t bytes);

}  // namespace qimg::qcow2
