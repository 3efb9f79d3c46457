// Names in UTF-16, little-endian, as GPT and F2FS have them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace qimg::guest {

// As UTF-8, up to the first zero or the last whole unit. What is half a pair gives no valid UTF-8, which printable()
// shows as bytes.
std::string utf8_of(std::span<const std::uint8_t> name);

}  // namespace qimg::guest
