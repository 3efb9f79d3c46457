// check: are the refcounts what the tables say they are; repair makes them so.
//
// Every table is decoded once, however many entries point to it, so the work is bounded by the file's size.
// The steps are in check/: counting references, comparing with refcounts, rebuilding them, copied flags.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "format/qcow2/qcow2.hpp"
#include "qimg/check_report.hpp"
#include "qimg/error.hpp"
#include "qimg/progress.hpp"

namespace qimg::qcow2 {

// Takes each finding as text in QEMU's words, without the newline at its end.
using OnFinding = std::function<void(const std::string&)>;

// Findings are data in the report, whose path and format are left to the caller. With a repair, the image
// must be writable and nobody may hold changes to it in memory; every write leaves the file as it was or
// better. The report then counts what was mended and what is left, but not what the repair itself may have
// brought to light: check again. Errors: io; corrupt when the refcounts must be rebuilt but only leaks may be
// repaired; no_space; cancelled.
Result<CheckReport> check_image(Qcow2& image, Repair repair, const OnFinding& on_finding, Progress& progress);

// Makes the refcounts of an image with the dirty bit right and clears the bit. Errors: those of check_image;
// corrupt when something is left that the refcounts cannot be told from.
Result<void> repair_refcounts(Qcow2& image, const OnFinding& on_finding);

}  // namespace qimg::qcow2
