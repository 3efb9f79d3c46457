// How much longer a file system became.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace qimg::guest {

struct Growth {
    std::uint64_t old_bytes = 0;
    std::uint64_t new_bytes = 0;  // equal to old_bytes: nothing to grow, and nothing was written
};

}  // namespace qimg::guest
