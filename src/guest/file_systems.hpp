// Making a file system as long as its partition, or saying who can. The one place that knows which file systems grow
// here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "guest/probe.hpp"
#include "guest/volume.hpp"
#include "qimg/error.hpp"
#include "qimg/progress.hpp"
#include "qimg/units.hpp"

namespace qimg::guest {

struct FileSystemGrowth {
    std::optional<std::uint64_t> old_bytes;  // where it tells
    std::optional<std::uint64_t> new_bytes;
    bool fills = false;     // it is as long as its partition
    std::string remaining;  // otherwise: what makes it so, in the guest
};

// `volume` is the partition, as long as it is now; `found` what begins there, and nothing when that is not known.
// `grew`: the partition was shorter before. Errors: of the file system's own growth; the volume has to be thrown away
// then.
Result<FileSystemGrowth> grow_file_system(Volume& volume, const std::optional<FileSystem>& found, bool grew,
                                          Progress& progress);

}  // namespace qimg::guest
