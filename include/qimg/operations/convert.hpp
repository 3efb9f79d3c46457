// convert: copies what guests see of one image into a new one of any format.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "qimg/operations/create.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct ConvertOptions {
    std::vector<std::string> sources;  // one after the other, as one disk
    OpenOptions open;
    std::optional<std::string> snapshot;  // of the source, by name or id
    CreateOptions target;                 // size: taken from the sources when absent
    bool compress = false;
    std::optional<int> compression_level;
    bool existing_target = false;  // write into a target that exists (-n)
    bool target_is_zero = false;
    std::uint64_t sparse_bytes = 4096;  // runs of zeroes at least this long become holes; 0: never
    unsigned threads = 0;               // 0: as many as there are processors
};

struct ConvertReport {
    std::uint64_t size = 0;
    std::uint64_t bytes_copied = 0;
};

// Nothing is left under the target's name unless it succeeds. Errors: of Image::open and create;
// invalid_argument when source and target are the same file.
Result<ConvertReport> convert(const ConvertOptions& options, Opener& opener = file_opener(),
                              Progress& progress = no_progress());

}  // namespace qimg
