// Writes small ISO 9660 volumes (ECMA-119, Joliet level 3, Rock Ridge 1.09) with a flat root folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "qimg/error.hpp"
#include "qimg/storage.hpp"
#include "qimg/volume.hpp"

namespace qimg {

struct Iso9660Options {
    std::string volume_id;  // written as given, also where ECMA-119 wants capitals; 1 to 16 characters
                            // (Joliet's limit)
    std::int64_t time = 0;  // seconds since 1970, of every file and of the volume; 1970 to 2155
};

// Writes a volume with `files` onto the empty storage `onto`. Under Rock Ridge and Joliet the files have
// their names, in plain ISO 9660 level-1 ones (`USER_DAT.;1`); they belong to root and are read-only (0444).
// The same arguments give the same bytes. Errors: invalid_argument for a name that Joliet cannot hold or that
// occurs twice, for more than 256 files and for a file of 4 GiB or more; those of the storage.
Result<void> write_iso9660(std::span<const VolumeFile> files, const Iso9660Options& options, Storage& onto);

}  // namespace qimg
