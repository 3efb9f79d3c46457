// Laying out a new qcow2 image.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"
#include "qimg/layout.hpp"
#include "qimg/progress.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

// Which options contradict each other, in QEMU's words. `size` in bytes.
Result<void> check_layout(const Qcow2Layout& layout, std::uint64_t size, Preallocation preallocation);

// The geometry of a layout that is only to be measured: nothing but cluster size and widths is checked.
Result<Geometry> checked_geometry(const Qcow2Layout& layout);

// Writes an empty image of `size` bytes to an empty storage: header, refcounts, an L1 table of zeroes.
// Options must have passed check_layout.
Result<void> create_empty(Storage& storage, const Qcow2Layout& layout, std::uint64_t size);

// Gives every guest cluster of `range` its place; falloc and full also allocate the space in the file (full:
// written with zeroes). The file has all of its last cluster afterwards.
Result<void> preallocate(Qcow2& image, GuestRange range, Preallocation preallocation, Progress& progress);

}  // namespace qimg::qcow2
