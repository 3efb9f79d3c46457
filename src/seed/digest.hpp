// SHA-256 of texts, from which a seed derives what must not be random: instance id, salt, serial, boundary.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qimg::seed {

using Digest = std::array<std::uint8_t, 32>;

// Hashes a list of texts. Each goes in with its length, so that no two lists run into the same bytes.
Digest digest_of(const std::vector<std::string_view>& texts);

// The first `digits` hexadecimal digits, in lower case; an even number, at most 64.
std::string hexadecimal(const Digest& digest, std::size_t digits);

}  // namespace qimg::seed
