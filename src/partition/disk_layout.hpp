// Partition tables as they lie on a disk: the MBR, and the GUID partition table (UEFI specification 2.10, 5.2 and
// 5.3).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/endian.hpp"

namespace qimg::partition::disk {

struct MbrEntry {
    std::uint8_t boot_flag;  // 0 or 0x80
    std::array<std::uint8_t, 3> first_chs;
    std::uint8_t type;
    std::array<std::uint8_t, 3> last_chs;
    le32 first_sector;
    le32 sectors;
};
static_assert(sizeof(MbrEntry) == 16);

struct Mbr {
    std::array<std::uint8_t, 446> boot_code;
    std::array<MbrEntry, 4> entries;
    std::array<std::uint8_t, 2> signature;
};
static_assert(sizeof(Mbr) == 512);

inline constexpr std::array<std::uint8_t, 2> mbr_signature{0x55, 0xaa};
inline constexpr std::uint8_t mbr_protective = 0xee;

struct GptHeader {
    std::array<char, 8> signature;
    le32 revision;
    le32 header_bytes;
    le32 header_crc;
    le32 reserved;
    le64 own_sector;
    le64 other_sector;  // of the other copy
    le64 first_usable;
    le64 last_usable;
    std::array<std::uint8_t, 16> disk_guid;
    le64 entries_sector;
    le32 entries;
    le32 entry_bytes;
    le32 entries_crc;
};
static_assert(sizeof(GptHeader) == 92);
static_assert(offsetof(GptHeader, header_crc) == 16);

inline constexpr std::string_view gpt_signature = "EFI PART";

struct GptEntry {
    std::array<std::uint8_t, 16> type;  // all zeroes: not used
    std::array<std::uint8_t, 16> guid;
    le64 first_sector;
    le64 last_sector;
    le64 attributes;
    std::array<std::uint8_t, 72> name;
};
static_assert(sizeof(GptEntry) == 128);

}  // namespace qimg::partition::disk
