// convert: copies what guests see of one image into a new one of any format.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "qimg/operations/create.hpp"
#include "qimg/operations/snapshot.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct ConvertOptions {
    std::vector<ImageLocation> sources;      // one after the other, as one disk
    std::optional<SnapshotChoice> snapshot;  // of the only source
    std::optional<GuestRange> part;          // of the only source; cut at its end
    CreateOptions target;                    // size: taken from the sources when absent
    bool compress = false;                   // not raw; a streamOptimized vmdk image always is
    std::optional<int> compression_level;    // zlib 1 to 9, zstd 1 to 19; absent: the fast one
    bool existing_target = false;            // write into a target that exists (-n)
    bool target_is_zero = false;             // the existing target reads as zeroes
    std::uint64_t sparse_bytes = 4096;       // runs of zeroes at least this long become holes; 0: never
    // Where the file system can do that, data becomes the target's by sharing blocks with the source, without
    // being looked at: zeroes in it stay data.
    bool share_blocks = true;
    unsigned threads = 0;              // 0: as many as there are processors
    bool bitmaps = false;              // take the bitmaps of the only source along
    bool skip_broken_bitmaps = false;  // but not those that are marked as in use: otherwise an error
    std::uint64_t rate_limit = 0;      // bytes a second; 0: none
    // What cannot be read becomes zeroes, sector by sector, and is told to on_warning.
    bool salvage = false;
    std::function<void(const std::string&)> on_warning;
    // What the target's creation is called in an error; empty: "error while converting FORMAT".
    std::string creation_words;
};

struct ConvertReport {
    std::uint64_t size = 0;
    std::uint64_t bytes_copied = 0;
    std::vector<std::string> skipped_bitmaps;
};

// Nothing is left under the target's name unless it succeeds. Errors: of Image::open and create;
// invalid_argument when source and target are the same file.
Result<ConvertReport> convert(const ConvertOptions& options, Opener& opener = file_opener(),
                              Progress& progress = no_progress());

}  // namespace qimg
