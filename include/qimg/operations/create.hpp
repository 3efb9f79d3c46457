// create: a new, empty image. snap: a new overlay on a base.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qimg/image.hpp"
#include "qimg/layout.hpp"
#include "qimg/progress.hpp"
#include "qimg/size_text.hpp"

namespace qimg {

struct CreateOptions {
    std::string path;
    std::string format = "raw";
    std::optional<std::uint64_t> size;  // bytes, rounded up to 512; absent: that of the backing file
    Preallocation preallocation = Preallocation::off;
    Qcow2Layout qcow2;               // for format "qcow2"
    VmdkLayout vmdk;                 // for format "vmdk", which is never preallocated
    bool check_backing = true;       // open the backing file: does it exist, is its format the one given
    bool replace_data_file = false;  // an external data file that holds something may be there, and is lost
    // Of the backing file. One that cannot be opened, that is being written to, or that leaves no room in the
    // header, is not pinned.
    PinMode pin = PinMode::none;
};

struct CreateReport {
    std::uint64_t size = 0;
};

// Nothing is left under `path` unless it succeeds. Errors: invalid_argument for options that contradict
// each other, exists for an external data file that is not empty, in_use when the old file is locked, those of Opener for the backing file, no_space, io.
Result<CreateReport> create(const CreateOptions& options, Opener& opener = file_opener(),
                            Progress& progress = no_progress());

struct SnapOptions {
    std::string base;
    std::string overlay;                     // must not exist
    std::optional<SizeChange> size;          // of the overlay, relative to the base's; absent: the base's
    std::optional<std::string> base_format;  // absent: told by the base's first bytes, and recorded
    PinMode pin = PinMode::tables;
};

struct SnapReport {
    std::uint64_t size = 0;
    std::string base_format;
    std::string backing_file;  // as recorded: relative to the overlay's folder
};

// An overlay with the base's cluster size, the base's format recorded, and a base name that still works when
// the folder moves. The base is only read. Errors: exists, and those of create.
Result<SnapReport> snap(const SnapOptions& options, Opener& opener = file_opener(),
                        Progress& progress = no_progress());

}  // namespace qimg
