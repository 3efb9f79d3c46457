// One digest of everything in a qcow2 file that says where guest data is.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/digest.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

// Changes when clusters are allocated, discarded or moved, and when the header names another backing or data
// file; not with snapshots, bitmaps, refcounts or a longer disk. Layout: qimg-pins(7). Each table in the file
// is read once, holes are not; entries that lead out of the file count as they are. Errors: of reading.
Result<Digest> table_digest(const Qcow2& image);

}  // namespace qimg::qcow2
