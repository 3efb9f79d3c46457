// SSH public keys, as lines of authorized_keys.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "qimg/seed.hpp"

namespace qimg::seed {

// True for a line with a known key type and the start of a key after it; options may precede them.
bool is_public_key(std::string_view line);

}  // namespace qimg::seed
