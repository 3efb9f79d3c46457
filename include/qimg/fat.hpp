// Writes small FAT12 and FAT16 volumes (without a partition table) with a flat root folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "qimg/error.hpp"
#include "qimg/storage.hpp"
#include "qimg/volume.hpp"

namespace qimg {

struct FatOptions {
    std::string
        label;  // in the boot sector and in the root folder, in capitals; 1 to 11 letters, digits, _ or -
    std::uint32_t serial = 0;  // the volume id that tells volumes apart
    std::int64_t time = 0;     // seconds since 1970, of every file; earlier than 1980 counts as 1980-01-01
};

// Its logical sectors have 2048 bytes, so that it mounts from a CD-ROM drive as well as from a disk.
//
// Writes a volume with `files` onto the empty storage `onto`, of whole MiB, as small as the files allow.
// Names keep their case and length (VFAT). The same arguments give the same bytes. Errors:
// invalid_argument for a name that VFAT cannot hold or that occurs twice (whatever its case), for more than
// 128 files, and for more than 2047 MiB; those of the storage.
Result<void> write_fat(std::span<const VolumeFile> files, const FatOptions& options, Storage& onto);

}  // namespace qimg
