// The vmdk structures as they lie in a file. Source: VMware's "Virtual Disk Format 5.0", cited as vmdk "Section".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"
#include "qimg/units.hpp"

namespace qimg::vmdk::disk {

inline constexpr std::uint32_t magic = 0x564d444b;  // "KDMV"

// vmdk "Hosted Sparse Extents"; offsets and sizes in sectors of 512 bytes
struct Header {
    le32 magic;
    le32 version;
    le32 flags;
    le64 capacity;
    le64 grain_size;
    le64 descriptor_offset;
    le64 descriptor_size;
    le32 entries_per_table;
    le64 redundant_directory;
    le64 directory;
    le64 overhead;
    std::uint8_t unclean_shutdown;
    std::array<char, 4> line_ends;
    le16 compression;
    std::array<std::uint8_t, 433> padding;
};
static_assert(offsetof(Header, directory) == 56);
static_assert(offsetof(Header, line_ends) == 73);
static_assert(offsetof(Header, compression) == 77);
static_assert(sizeof(Header) == sector_bytes);

inline constexpr std::uint32_t version_max = 3;
inline constexpr std::uint32_t flag_line_ends = 1u << 0;
inline constexpr std::uint32_t flag_redundant_tables = 1u << 1;
inline constexpr std::uint32_t flag_zeroed_grains = 1u << 2;
inline constexpr std::uint32_t flag_compressed = 1u << 16;
inline constexpr std::uint32_t flag_markers = 1u << 17;
inline constexpr std::array<char, 4> line_ends = {'\n', ' ', '\r', '\n'};
inline constexpr std::uint16_t compression_none = 0;
inline constexpr std::uint16_t compression_deflate = 1;
inline constexpr std::uint64_t directory_at_end = ~0ull;  // the header at the end of the file says where

// vmdk "Grain Directory", "Grain Table": entries are sectors of the file
using Entry = le32;
inline constexpr std::uint32_t entries_per_table_max = 512;
inline constexpr std::uint32_t entry_none = 0;
inline constexpr std::uint32_t entry_zeroed = 1;

// vmdk "Stream-Optimized Compressed Sparse Extents": in front of each compressed grain
struct GrainMarker {
    le64 sector;  // of the disk
    le32 bytes;   // of the compressed data behind it
};
static_assert(sizeof(GrainMarker) == 12);

// in front of everything else, in a sector of its own
struct Marker {
    le64 sectors;
    le32 bytes;  // 0
    le32 type;
    std::array<std::uint8_t, 496> padding;
};
static_assert(sizeof(Marker) == sector_bytes);
inline constexpr std::uint32_t marker_end_of_stream = 0;
inline constexpr std::uint32_t marker_footer = 3;

}  // namespace qimg::vmdk::disk
