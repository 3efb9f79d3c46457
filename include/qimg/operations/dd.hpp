// dd: copies blocks of a disk into a new image.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qimg/image.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct DdOptions {
    ImageLocation source;
    std::string path;  // of the new image
    std::string format = "raw";
    std::uint64_t block_bytes = 512;     // not 0
    std::uint64_t skip = 0;              // blocks that are left out at the start
    std::optional<std::uint64_t> count;  // where it ends: so many blocks after the start of the disk
};

struct DdReport {
    std::uint64_t bytes = 0;        // that were copied; the new disk is that rounded up to 512
    bool skipped_past_end = false;  // there were fewer blocks than are left out; the new disk is empty
};

// Every block gets space of its own, also one of zeroes. An older image of that name is replaced when all is
// written. Errors: those of convert.
Result<DdReport> dd(const DdOptions& options, Opener& opener = file_opener(),
                    Progress& progress = no_progress());

}  // namespace qimg
