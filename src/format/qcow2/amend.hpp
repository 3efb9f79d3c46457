// Changing what an existing image is: version, refcount width, flags, the name of its data file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"
#include "qimg/layout.hpp"
#include "qimg/progress.hpp"

namespace qimg::qcow2 {

// Whether the image can become that, as far as the header and, for zstd, the L2 tables tell. Errors:
// invalid_argument in QEMU's words, those of reading the tables.
Result<void> check_amendment(Qcow2& image, const Qcow2Amendment& wanted);

// Makes it so, after check_amendment. Ends in one write of the header, before which the image is what it was
// and guests see the same throughout. Going to version 2 gives up bitmaps. Errors: invalid_argument for snapshots of another size than the disk's, which version 2 cannot have, and for a refcount that the
// new width cannot hold; those of expand_zero_clusters, with its message after what could not be done;
// no_space, io.
Result<void> amend(Qcow2& image, const Qcow2Amendment& wanted, Progress& progress);

}  // namespace qimg::qcow2
