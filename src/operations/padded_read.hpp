// Reading a disk as if it went on behind its end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include "qimg/image.hpp"

namespace qimg {

// Guest data from `at` on; behind the end of the disk there are zeroes. Errors: those of Image::read().
inline Result<void> read_padded(const Image& image, GuestOffset at, std::span<std::byte> into) {
    const std::uint64_t rest = image.size() - std::min(image.size(), at.bytes);
    const auto known = into.first(std::min<std::uint64_t>(into.size(), rest));
    std::ranges::fill(into.subspan(known.size()), std::byte{0});
    return known.empty() ? Result<void>() : image.read(at, known);
}

}  // namespace qimg
