// Sizes on the command line, with qemu-img's words for wrong ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace qimg::cli {

// Bytes, below 2^63. Empty, with the error printed, for anything else; `what` is "image size", "start
// offset", …
std::optional<std::uint64_t> parse_size_argument(std::string_view what, std::string_view text);

}  // namespace qimg::cli
