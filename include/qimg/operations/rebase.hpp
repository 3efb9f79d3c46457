// rebase: another backing image under an overlay.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "qimg/image.hpp"
#include "qimg/layout.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct NewBacking {
    std::string name;                   // as the overlay will record it
    std::optional<std::string> format;  // likewise; must be there
    ImageLocation location;             // where it is, and how it is opened
};

struct RebaseOptions {
    std::string path;
    OpenOptions open;
    std::optional<NewBacking> backing;  // absent: none, the overlay becomes an image of its own
    // Change only what is recorded: guests then see something else where old and new backing image differ.
    // Neither of them is opened, but to pin the new one.
    bool unsafe = false;
    bool compress = false;  // what is copied into the overlay
    // Of the new backing image, with unsafe, too; see CreateOptions::pin. An old pin is not kept.
    PinMode pin = PinMode::none;
    // Asked when nothing else speaks against it, before anything is written; an error is that of the rebase.
    std::function<Result<void>()> before_change = {};
};

struct RebaseReport {
    std::uint64_t bytes_copied =
        0;  // into the overlay, because the new backing image has something else there
};

// What guests see of the overlay stays the same, also after a crash: the new backing image is recorded, in one
// step, when all that it lacks is on stable storage. Errors: those of Image::open, reading and writing;
// unsupported for formats without backing images; invalid_argument without the new backing image's format
// and for one that stands on the overlay itself; no_space when its name does not fit the header.
Result<RebaseReport> rebase(const RebaseOptions& options, Opener& opener = file_opener(),
                            Progress& progress = no_progress());

}  // namespace qimg
