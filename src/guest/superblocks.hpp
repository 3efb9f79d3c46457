// Superblocks as far as they tell what a file system is, each from the file system's own documentation.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"

namespace qimg::guest::disk {

using Uuid = std::array<std::uint8_t, 16>;
template <std::size_t Bytes>
using Gap = std::array<std::uint8_t, Bytes>;

// Linux: Documentation/filesystems/ext4, "Super Block"; 1024 bytes into the file system.
struct ExtSuperblock {
    le32 inodes;
    le32 blocks_low;
    Gap<16> gap1;
    le32 log_block_kib;  // 0: 1 KiB
    Gap<28> gap2;
    le16 magic;
    Gap<34> gap3;
    le32 compatible;
    le32 incompatible;
    le32 read_only_compatible;
    Uuid uuid;
    std::array<char, 16> label;
    Gap<200> gap4;
    le32 blocks_high;
};
static_assert(offsetof(ExtSuperblock, magic) == 56);
static_assert(offsetof(ExtSuperblock, uuid) == 104);
static_assert(offsetof(ExtSuperblock, blocks_high) == 0x150);

inline constexpr std::uint64_t ext_superblock_at = 1024;
inline constexpr std::uint16_t ext_magic = 0xef53;
inline constexpr std::uint32_t ext_has_journal = 0x4;
inline constexpr std::uint32_t ext_journal_device = 0x8;
inline constexpr std::uint32_t ext_64bit = 0x80;
// all that ext3 knows: FILETYPE, RECOVER, META_BG; SPARSE_SUPER, LARGE_FILE, BTREE_DIR
inline constexpr std::uint32_t ext3_incompatible = 0x2 | 0x4 | 0x10;
inline constexpr std::uint32_t ext3_read_only_compatible = 0x1 | 0x2 | 0x4;

// XFS Algorithms & Data Structures, "Superblocks".
struct XfsSuperblock {
    std::array<char, 4> magic;
    be32 block_bytes;
    be64 blocks;
    Gap<16> gap1;
    Uuid uuid;
    Gap<60> gap2;
    std::array<char, 12> label;
};
static_assert(offsetof(XfsSuperblock, uuid) == 32);
static_assert(offsetof(XfsSuperblock, label) == 108);

// btrfs on-disk format, "Superblock"; 64 KiB into the file system.
struct BtrfsSuperblock {
    Gap<32> checksum;
    Uuid uuid;
    Gap<16> gap1;
    std::array<char, 8> magic;
    Gap<40> gap2;
    le64 bytes;
    Gap<179> gap3;
    std::array<char, 256> label;
};
static_assert(offsetof(BtrfsSuperblock, magic) == 64);
static_assert(offsetof(BtrfsSuperblock, bytes) == 112);
static_assert(offsetof(BtrfsSuperblock, label) == 299);

inline constexpr std::uint64_t btrfs_superblock_at = 0x10000;

// Linux: include/linux/f2fs_fs.h; 1024 bytes into the file system.
struct F2fsSuperblock {
    le32 magic;
    Gap<12> gap1;
    le32 log_block_bytes;
    Gap<16> gap2;
    le64 blocks;
    Gap<64> gap3;
    Uuid uuid;
    std::array<std::uint8_t, 1024> label;  // UTF-16
};
static_assert(offsetof(F2fsSuperblock, blocks) == 36);
static_assert(offsetof(F2fsSuperblock, uuid) == 108);

inline constexpr std::uint64_t f2fs_superblock_at = 1024;
inline constexpr std::uint32_t f2fs_magic = 0xf2f52010;

// Microsoft's FAT specification 1.03, "Boot Sector and BPB"; NTFS begins alike.
struct BootSector {
    Gap<3> jump;
    std::array<char, 8> system;
    le16 sector_bytes;
    std::uint8_t cluster_sectors;
    le16 reserved_sectors;
    std::uint8_t fats;
    le16 root_entries;
    le16 sectors_16;
    std::uint8_t media;
    le16 fat_sectors_16;
    Gap<8> gap1;
    le32 sectors_32;
    le32 fat_sectors_32;
    le64 ntfs_sectors;
    Gap<24> gap2;
    le64 ntfs_serial;
    Gap<430> gap3;
    std::array<std::uint8_t, 2> signature;
};
static_assert(sizeof(BootSector) == 512);
static_assert(offsetof(BootSector, sectors_32) == 32);
static_assert(offsetof(BootSector, ntfs_serial) == 72);

// Behind the geometry: at 36 for FAT12 and FAT16, at 64 for FAT32.
struct FatNames {
    Gap<3> gap;
    le32 serial;
    std::array<char, 11> label;
};
static_assert(sizeof(FatNames) == 18);

// mkswap(8): the header's page ends in the signature.
struct SwapHeader {
    le32 version;
    le32 last_page;
    le32 bad_pages;
    Uuid uuid;
    std::array<char, 16> label;
};
using SwapSignature = std::array<char, 10>;
inline constexpr std::uint64_t swap_header_at = 1024;
inline constexpr std::uint64_t swap_page_bytes = 4096;

// LVM2 on-disk format: a label in one of the first four sectors.
struct LvmLabel {
    std::array<char, 8> id;
    le64 sector;
    le32 crc;
    le32 header_at;
    std::array<char, 8> type;
};
static_assert(sizeof(LvmLabel) == 32);

struct LvmHeader {
    std::array<char, 32> uuid;
    le64 bytes;
};

// LUKS1 and LUKS2 on-disk format specifications: what both have in common.
struct LuksHeader {
    std::array<char, 6> magic;
    be16 version;
    Gap<16> gap1;
    std::array<char, 48> label;  // LUKS2
    Gap<96> gap2;
    std::array<char, 40> uuid;
};
static_assert(offsetof(LuksHeader, uuid) == 168);

// ECMA-119 8.4: in sector 16 of 2 KiB.
struct IsoVolume {
    std::uint8_t type;
    std::array<char, 5> id;
    Gap<34> gap1;
    std::array<char, 32> label;
    Gap<8> gap2;
    le32 blocks;
    Gap<44> gap3;
    le16 block_bytes;
};
static_assert(offsetof(IsoVolume, blocks) == 80);
static_assert(offsetof(IsoVolume, block_bytes) == 128);

inline constexpr std::uint64_t iso_volume_at = 0x8000;

// Linux: Documentation/filesystems/squashfs.
struct SquashfsSuperblock {
    std::array<char, 4> magic;
    Gap<36> gap1;
    le64 bytes;
};
static_assert(offsetof(SquashfsSuperblock, bytes) == 40);

}  // namespace qimg::guest::disk
