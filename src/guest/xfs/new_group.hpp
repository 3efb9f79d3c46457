// An allocation group that holds nothing yet, as bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.hpp"
#include "guest/xfs/geometry.hpp"

namespace qimg::guest::xfs {

// The group's first empty_group(geometry).first_free blocks: headers, and trees that are empty but for the space that
// is free. `superblock` is the sector that it begins with. None of it has a place in the log.
Bytes new_group(const Geometry& geometry, std::uint32_t group, std::span<const std::byte> superblock);

}  // namespace qimg::guest::xfs
