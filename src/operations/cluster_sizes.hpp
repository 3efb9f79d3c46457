// How large the clusters are that guest data may lie in. A compressed one is decompressed whole, so whoever reads
// in pieces takes no smaller ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "format/format.hpp"
#include "qimg/image.hpp"

namespace qimg {

// The largest in the chain from `image` downwards, bytes; 0 for no image.
inline std::uint64_t largest_cluster_bytes(const Image* image) {
    std::uint64_t bytes = 0;
    for (; image != nullptr; image = image->backing())
        bytes = std::max(bytes, image->format().cluster_bytes());
    return bytes;
}

}  // namespace qimg
