// SHA-256 of texts, from which a seed derives what must not be random: instance id, salt, serial, boundary.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/digest.hpp"

namespace qimg::seed {

// Hashes a list of texts. Each goes in with its length, so that no two lists run into the same bytes.
Digest digest_of(const std::vector<std::string_view>& texts);

}  // namespace qimg::seed
