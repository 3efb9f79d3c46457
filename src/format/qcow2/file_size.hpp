// How large a qcow2 file becomes, from its layout alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/geometry.hpp"

namespace qimg::qcow2 {

// Bytes of a file in which every guest cluster has its place: header, L1 and L2 tables, refcounts and data.
// `guest_bytes` must be a size that an L1 table can map.
std::uint64_t full_file_bytes(const Geometry& geometry, std::uint64_t guest_bytes);

// Bytes that these bitmaps of a disk take at most in a file of this geometry: data, tables and directory.
std::uint64_t bitmaps_bytes(const Geometry& geometry, std::uint64_t guest_bytes,
                            std::span<const Bitmap> bitmaps);

}  // namespace qimg::qcow2
