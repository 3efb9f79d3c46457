// commit: what an overlay has of its own goes into an image below it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qimg/image.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct CommitOptions {
    std::string path;
    OpenOptions open;
    // The image of the chain to commit into, by its name (a relative one counts from the folder of the image
    // above it); absent: the overlay's own backing image.
    std::optional<std::string> base;
    bool empty = true;             // take out of the overlay what the base has afterwards; not with `base`
    std::uint64_t rate_limit = 0;  // bytes a second; 0: none
};

struct CommitBase {
    std::string path;
    std::string overlay;  // the image of this chain that stands on it
};

// The image that commit() would write to. Errors: of Image::open; invalid_argument when there is none.
Result<CommitBase> find_commit_base(const CommitOptions& options, Opener& opener = file_opener());

struct CommitReport {
    std::string base;  // its path
    std::uint64_t base_size = 0;
    std::uint64_t bytes_copied = 0;
};

// What guests see of the overlay is the same at every moment, also after a crash: the base is on stable
// storage before anything is taken out of the overlay. A base that is too short grows first. Images between
// overlay and base keep their content, but stand on a changed one, and their pins say so; the overlay's own pin of
// the base is renewed at the end. Errors: invalid_argument (no such base),
// in_use, and those of Image::open, resize, reading and writing.
Result<CommitReport> commit(const CommitOptions& options, Opener& opener = file_opener(),
                            Progress& progress = no_progress());

}  // namespace qimg
