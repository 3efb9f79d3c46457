// Zero clusters made into what version 2 can say, for the disk and its snapshots.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"
#include "qimg/progress.hpp"

namespace qimg::qcow2 {

// Guests see the same afterwards, and at every moment in between. A zero cluster becomes an unallocated one where
// there is no backing file to show through, and a cluster of zeroes otherwise; space kept behind it is used when
// nothing else refers to it. Not for extended L2 entries. Progress counts L1 entries, the snapshots' included.
// Errors: corrupt for tables that break the rules (EIO: the image is marked corrupt then); no_space, io.
Result<void> expand_zero_clusters(Qcow2& image, Progress& progress);

// Whether the disk or a snapshot has a compressed cluster.
Result<bool> has_compressed_clusters(Qcow2& image);

}  // namespace qimg::qcow2
