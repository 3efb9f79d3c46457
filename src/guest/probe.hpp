// Which file system, or other content, begins at a place of a disk: told by its superblock alone, which nobody has
// to believe. Knows no partition tables.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "guest/volume.hpp"
#include "qimg/error.hpp"

namespace qimg::guest {

enum class Content {
    ext2,
    ext3,
    ext4,
    xfs,
    btrfs,
    f2fs,
    fat12,
    fat16,
    fat32,
    ntfs,
    swap,
    lvm2,  // a physical volume
    luks,
    iso9660,
    squashfs,
};

struct FileSystem {
    Content content;
    std::string label;                   // safe to print, without what fills it up
    std::string uuid;                    // as blkid prints it; empty where there is none
    std::optional<std::uint64_t> bytes;  // its length, where the superblock tells; any number
};

// At most 80 KiB of `volume` are read. Nothing when no content is recognised. Errors: of reading.
Result<std::optional<FileSystem>> probe(const Volume& volume, std::uint64_t start, std::uint64_t bytes);

// "ext4", "FAT32", "LVM2", …
std::string_view name_of(Content content);
bool is_ext(Content content);

}  // namespace qimg::guest
