// Sizes on the command line, with qemu-img's words for wrong ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace qimg::cli {

struct SizeBounds {
    std::uint64_t smallest = 0;
    std::uint64_t largest = std::numeric_limits<std::int64_t>::max();
};

// Bytes inside the bounds. Empty, with the error printed, for anything else; `what` is "image size", "start
// offset", …
std::optional<std::uint64_t> parse_size_argument(std::string_view what, std::string_view text,
                                                 const SizeBounds& bounds = {});

}  // namespace qimg::cli
