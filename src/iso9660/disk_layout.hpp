// The entries of the System Use Sharing Protocol (IEEE P1281) and of Rock Ridge (RRIP 1.09) as they lie on
// the disk, and where in the volume its parts begin. Directory records and descriptors are libiso9660's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdio/iso9660.h>

#include <cstdint>

#include "base/endian.hpp"

namespace qimg::iso9660 {

inline constexpr std::uint32_t block_bytes = ISO_BLOCKSIZE;

// Blocks that have the same place in every volume this library writes.
inline constexpr std::uint32_t primary_descriptor_block = 16;  // ECMA-119 6.7.1.1
inline constexpr std::uint32_t joliet_descriptor_block = 17;
inline constexpr std::uint32_t terminator_block = 18;
inline constexpr std::uint32_t path_table_l_block = 19;
inline constexpr std::uint32_t path_table_m_block = 20;
inline constexpr std::uint32_t joliet_path_table_l_block = 21;
inline constexpr std::uint32_t joliet_path_table_m_block = 22;
inline constexpr std::uint32_t continuation_block = 23;  // what does not fit into the root's "." record
inline constexpr std::uint32_t root_block = 24;          // followed by Joliet's root and the files

// A 32-bit number in both byte orders (ECMA-119 7.3.3).
struct Both32 {
    le32 little;
    be32 big;
    explicit Both32(std::uint32_t value = 0) : little(value), big(value) {}
};

struct SystemUseHeader {
    char signature[2];
    std::uint8_t length;
    std::uint8_t version = 1;
};

struct SharingProtocolEntry {  // SP
    SystemUseHeader header{{'S', 'P'}, sizeof(SharingProtocolEntry)};
    std::uint8_t check[2] = {0xbe, 0xef};
    std::uint8_t skipped = 0;
};

struct ContinuationEntry {  // CE
    SystemUseHeader header{{'C', 'E'}, sizeof(ContinuationEntry)};
    Both32 block;
    Both32 offset;
    Both32 length;
};

struct ExtensionsEntry {  // ER, followed by the three texts
    SystemUseHeader header{{'E', 'R'}, 0};
    std::uint8_t identifier_length = 0;
    std::uint8_t descriptor_length = 0;
    std::uint8_t source_length = 0;
    std::uint8_t extension_version = 1;
};

struct RockRidgeEntry {  // RR: which of the entries below a record has
    SystemUseHeader header{{'R', 'R'}, sizeof(RockRidgeEntry)};
    std::uint8_t flags = 0;
};
inline constexpr std::uint8_t has_attributes = 0x01;
inline constexpr std::uint8_t has_name = 0x08;
inline constexpr std::uint8_t has_times = 0x80;

struct AttributesEntry {  // PX
    SystemUseHeader header{{'P', 'X'}, sizeof(AttributesEntry)};
    Both32 mode;
    Both32 links;
    Both32 user;
    Both32 group;
};

struct TimesEntry {  // TF
    SystemUseHeader header{{'T', 'F'}, sizeof(TimesEntry)};
    std::uint8_t flags = ISO_ROCK_TF_MODIFY | ISO_ROCK_TF_ACCESS | ISO_ROCK_TF_ATTRIBUTES;
    iso9660_dtime_t modified = {};
    iso9660_dtime_t accessed = {};
    iso9660_dtime_t attributes_changed = {};
};

struct NameEntry {  // NM, followed by the name
    SystemUseHeader header{{'N', 'M'}, 0};
    std::uint8_t flags = 0;
};

static_assert(sizeof(Both32) == 8 && alignof(Both32) == 1);
static_assert(sizeof(SharingProtocolEntry) == 7);
static_assert(sizeof(ContinuationEntry) == 28);
static_assert(sizeof(ExtensionsEntry) == 8);
static_assert(sizeof(RockRidgeEntry) == 5);
static_assert(sizeof(AttributesEntry) == 36);
static_assert(sizeof(TimesEntry) == 26);
static_assert(sizeof(NameEntry) == 5);
static_assert(sizeof(iso9660_dir_t) == 33);
static_assert(sizeof(iso9660_pvd_t) == block_bytes && sizeof(iso9660_svd_t) == block_bytes);

}  // namespace qimg::iso9660
