// CRC-32C, with which file systems seal their metadata.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qimg {

// Polynomial 0x1edc6f41 with bits reversed; goes on from `before`, and is not inverted at the end: the usual CRC-32C
// is ~crc32c(~0u, bytes).
std::uint32_t crc32c(std::uint32_t before, std::span<const std::byte> bytes);

}  // namespace qimg
