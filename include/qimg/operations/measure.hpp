// measure: how much space a new image will need.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qimg/image.hpp"
#include "qimg/layout.hpp"
#include "qimg/operations/snapshot.hpp"

namespace qimg {

struct MeasureOptions {
    std::optional<ImageLocation> source;     // absent: an empty disk of `size` bytes
    std::optional<SnapshotChoice> snapshot;  // of the source
    std::uint64_t size = 0;                  // without a source; rounded up to 512
    std::string format = "raw";
    Preallocation preallocation = Preallocation::off;
    Qcow2Layout qcow2;  // for format "qcow2"; of the backing file counts only that there is one
};

// All in bytes of the new file.
struct MeasureReport {
    std::uint64_t required = 0;            // for what is there now, and all the tables that there can be
    std::uint64_t fully_allocated = 0;     // once every cluster has been written
    std::optional<std::uint64_t> bitmaps;  // for the source's bitmaps besides, if both images can have some
};

// Reads tables only. Errors: of Image::open; not_found for a snapshot; invalid_argument for a layout that
// cannot be; no_space for a disk that the layout cannot map.
Result<MeasureReport> measure(const MeasureOptions& options, Opener& opener = file_opener());

}  // namespace qimg
