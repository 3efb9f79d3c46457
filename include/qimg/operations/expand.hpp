// expand: a longer disk, its partition with it, and the file system in that, in place and in one step.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qimg/image.hpp"
#include "qimg/progress.hpp"
#include "qimg/size_text.hpp"

namespace qimg {

struct ExpandOptions {
    std::string path;
    OpenOptions open;
    std::optional<SizeChange> size;  // of the disk; absent: as it is
    std::optional<unsigned>
        partition;         // by number; absent: the root partition by its type, or else the last one on
                           // the disk, if it can grow, or else the largest that can
    bool dry_run = false;  // everything but writing to the image
};

// Before and after, in bytes.
struct Lengths {
    std::uint64_t before = 0;
    std::uint64_t after = 0;
};

struct ExpandReport {
    Lengths disk;
    std::optional<unsigned> partition;  // absent: the disk has no table
    std::optional<Lengths> partition_bytes;
    std::string file_system;  // "ext4"; empty: not known
    std::optional<Lengths> file_system_bytes;
    bool is_complete = false;  // the file system fills its partition, and that what is behind it
    std::string remaining;     // otherwise: what is left to do, one phrase
    bool is_changed = false;   // there was something to do
};

// Crash-safe: the disk is the old one, or all of the new one. Errors: invalid_argument (shorter, or no size that can
// be), not_found (no such partition), unsupported (with the reason: a hybrid MBR, a damaged table, a format that cannot
// do this), those of the file system's growth and of Image::open. After an error the disk is as it was.
Result<ExpandReport> expand(const ExpandOptions& options, Opener& opener = file_opener(),
                            Progress& progress = no_progress());

// Finishes what a crash left of an expand() of that image, before which it cannot be opened to be written; true when
// there was something. Errors: those of Image::open and of writing; corrupt and unsafe for what cannot be finished.
Result<bool> finish_expand(const std::string& path, const OpenOptions& open = {},
                           Opener& opener = file_opener());
// True when there is something to finish.
bool is_expand_unfinished(const std::string& path);

}  // namespace qimg
