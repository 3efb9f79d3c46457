// The words that -t and -T take. They change how QEMU caches an image's file; here files are always read and
// written through the page cache and flushed where safety needs it, so they have no effect.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace qimg::cli {

inline bool is_cache_mode(std::string_view mode) {
    constexpr std::array modes = {"none", "off", "writeback", "writethrough", "directsync", "unsafe"};
    return std::find(modes.begin(), modes.end(), mode) != modes.end();
}

}  // namespace qimg::cli
