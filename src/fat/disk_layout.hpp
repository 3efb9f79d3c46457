// FAT12 and FAT16 structures as they lie on the disk ("Microsoft FAT Specification", 2005).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"

namespace qimg::fat {

struct BootSector {  // section 3: BPB and its extension for FAT12 and FAT16
    std::uint8_t jump[3] = {0xeb, 0x3c, 0x90};
    char oem_name[8] = {'M', 'S', 'W', 'I', 'N', '4', '.', '1'};
    le16 bytes_per_sector;
    std::uint8_t sectors_per_cluster = 0;
    le16 reserved_sectors;
    std::uint8_t fat_count = 0;
    le16 root_entries;
    le16 total_sectors_16;
    std::uint8_t media = 0;
    le16 sectors_per_fat;
    le16 sectors_per_track;
    le16 heads;
    le32 hidden_sectors;
    le32 total_sectors_32;
    std::uint8_t drive_number = 0;
    std::uint8_t reserved = 0;
    std::uint8_t extended_signature = 0x29;
    le32 serial;
    char label[11] = {};
    char type[8] = {};
    std::uint8_t boot_code[448] = {};
    std::uint8_t signature[2] = {0x55, 0xaa};
};
static_assert(sizeof(BootSector) == 512);
static_assert(offsetof(BootSector, label) == 43 && offsetof(BootSector, boot_code) == 62);

struct ShortEntry {  // section 6
    char name[11] = {};
    std::uint8_t attributes = 0;
    std::uint8_t reserved = 0;
    std::uint8_t creation_tenths = 0;
    le16 creation_time;
    le16 creation_date;
    le16 access_date;
    le16 first_cluster_high;
    le16 write_time;
    le16 write_date;
    le16 first_cluster;
    le32 bytes;
};

struct LongEntry {  // section 7: 13 UCS-2 characters of a long name
    std::uint8_t order = 0;
    le16 characters_1[5] = {};
    std::uint8_t attributes = 0x0f;
    std::uint8_t type = 0;
    std::uint8_t checksum = 0;
    le16 characters_2[6] = {};
    le16 first_cluster;
    le16 characters_3[2] = {};
};
inline constexpr std::size_t long_entry_characters = 13;
inline constexpr std::uint8_t last_long_entry = 0x40;

inline constexpr std::uint8_t attribute_read_only = 0x01;
inline constexpr std::uint8_t attribute_volume_label = 0x08;
inline constexpr std::uint8_t attribute_archive = 0x20;

inline constexpr std::size_t directory_entry_bytes = 32;
static_assert(sizeof(ShortEntry) == directory_entry_bytes && sizeof(LongEntry) == directory_entry_bytes);
static_assert(offsetof(ShortEntry, first_cluster) == 26 && offsetof(LongEntry, characters_3) == 28);

}  // namespace qimg::fat
