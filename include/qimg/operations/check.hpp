// check: are the refcounts what the tables say they are; repair makes them so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "qimg/image.hpp"
#include "qimg/progress.hpp"

namespace qimg {

enum class Repair { none, leaks, all };

struct CheckOptions {
    std::string path;
    OpenOptions open;
    Repair repair = Repair::none;
    // Each finding as one line in QEMU's words, as it is found ("Leaked cluster 5 refcount=1 reference=0").
    std::function<void(const std::string&)> on_finding;
};

struct CheckReport {
    std::string path;
    std::string format;
    std::uint64_t check_errors = 0;  // what could not be read
    std::uint64_t corruptions = 0;
    std::uint64_t leaks = 0;
    std::uint64_t corruptions_fixed = 0;
    std::uint64_t leaks_fixed = 0;
    std::uint64_t total_clusters = 0;
    std::uint64_t allocated_clusters = 0;
    std::uint64_t fragmented_clusters = 0;
    std::uint64_t compressed_clusters = 0;
    std::optional<std::uint64_t> image_end_offset;
};

// Findings are data in the report, not errors. Errors: unsupported for a format without checks, and those of
// Image::open. With repair, what is left after it is reported in corruptions and leaks.
Result<CheckReport> check(const CheckOptions& options, Opener& opener = file_opener(),
                          Progress& progress = no_progress());

}  // namespace qimg
