// map: where each run of guest bytes comes from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "qimg/image.hpp"

namespace qimg {

struct MapOptions {
    std::string path;
    OpenOptions open;
    std::uint64_t start = 0;                  // bytes
    std::optional<std::uint64_t> max_length;  // bytes
};

struct MapEntry {
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    unsigned depth = 0;
    bool present = false;  // some image of the chain has it
    bool zero = false;     // reads as zeroes
    bool data = false;     // has bytes in a file
    bool compressed = false;
    std::optional<std::uint64_t> offset;  // in `filename`
    std::optional<std::string> filename;
};

// Calls `on_entry` for each run in order, adjacent runs of one kind joined. Errors: of Image::open and of
// reading tables; an error from `on_entry` ends it.
Result<void> map(const MapOptions& options, const std::function<Result<void>(const MapEntry&)>& on_entry,
                 Opener& opener = file_opener());

}  // namespace qimg
