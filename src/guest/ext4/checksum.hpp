// The two checksums of ext4, as it uses them: started with what the caller has, not inverted at the end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/crc32c.hpp"

namespace qimg::guest::ext4 {

// Superblocks, descriptors and bitmaps under metadata_csum.
using qimg::crc32c;

// CRC-16, polynomial 0x8005 with bits reversed: descriptors under uninit_bg.
std::uint16_t crc16(std::uint16_t before, std::span<const std::byte> bytes);

}  // namespace qimg::guest::ext4
