// check: are the refcounts what the tables say they are; repair makes them so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "qimg/check_report.hpp"
#include "qimg/image.hpp"
#include "qimg/operations/pins.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct CheckOptions {
    std::string path;
    OpenOptions open;
    Repair repair = Repair::none;
    // Each finding as one line in QEMU's words, as it is found ("Leaked cluster 5 refcount=1 reference=0").
    std::function<void(const std::string&)> on_finding;
};

// Findings are data in the report, not errors. Errors: unsupported for a format without checks, and those of
// Image::open. With repair, what is left after it is reported in corruptions and leaks.
Result<CheckReport> check(const CheckOptions& options, Opener& opener = file_opener(),
                          Progress& progress = no_progress());

struct ChainCheckReport {
    std::vector<CheckReport> images;  // top first; nothing is counted in formats without checks
    std::vector<PinReport> pins;      // one for each image that has one below it
};

// Each image of a chain, and whether each is still what the one above it was put on; what that has pinned of its
// content is read. Nothing is repaired. Findings name their image. Errors: of Image::open; cancelled.
Result<ChainCheckReport> check_chain(const CheckOptions& options, Opener& opener = file_opener(),
                                     Progress& progress = no_progress());

}  // namespace qimg
