// CheckReport: what a check of an image found and mended.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace qimg {

enum class Repair { none, leaks, all };

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

}  // namespace qimg
