// pins: whether the images below an overlay are still what they were when it was put on them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "qimg/progress.hpp"

namespace qimg {

enum class PinState {
    none,     // the overlay says nothing about its base
    unknown,  // it says something in a way that is not known here
    same,
    changed,
};

struct PinReport {
    std::string overlay;
    std::string base;
    std::string base_name;    // as the overlay's header has it
    std::string base_format;  // as it is now
    PinState state = PinState::none;
    std::vector<std::string> changes;  // what guests of the overlay may notice: "its tables are others"
    std::vector<std::string> hints;    // what a copy or a tool may have done without harm
    std::optional<FileTime> modified;  // when the base was written to last
};

struct PinsOptions {
    std::string path;
    OpenOptions open;
    bool content = true;  // also compare what guests see, where that is pinned: all of it is read
};

// One report for each image of the chain that has one below it, top first. Changes are data, not errors. Work
// is bounded by the tables of the bases and, with `content`, by their data. Errors: of Image::open and reading;
// cancelled.
Result<std::vector<PinReport>> check_pins(const PinsOptions& options, Opener& opener = file_opener(),
                                          Progress& progress = no_progress());

// What changed, how, and when it was written to last, as the part of a sentence: "'base.img' changed since
// 'top.img' was put on it: …". For PinState::changed. Safe to print.
std::string describe_change(const PinReport& report);
// How to go on then.
std::string advice_on_change(const PinReport& report);

}  // namespace qimg
