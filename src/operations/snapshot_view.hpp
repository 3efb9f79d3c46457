// Looking at an image as it was when an internal snapshot was taken. Nothing is written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qimg/image.hpp"
#include "qimg/operations/snapshot.hpp"

namespace qimg {

// Makes an image that was opened for reading show what it was when the snapshot was taken. The disk keeps its
// present size, as in qemu-img, unless the snapshot is of a longer one. Errors: not_found; corrupt.
Result<void> show_snapshot(Image& image, const SnapshotChoice& wanted);

}  // namespace qimg
