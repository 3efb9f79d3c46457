// The superblock and its copies: parsed and checked in one place, and written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "guest/btrfs/checksum.hpp"
#include "guest/btrfs/disk_layout.hpp"
#include "guest/volume.hpp"
#include "qimg/error.hpp"

namespace qimg::guest::btrfs {

// One that read_superblock() accepts: of a file system on one device, with features that are known; sizes of sectors
// and nodes are powers of two from 4 to 64 KiB, and the device is not longer than the volume.
struct Superblock {
    disk::Superblock raw;
    ChecksumType checksum_type;

    std::uint64_t device_bytes() const { return raw.device.total_bytes; }
    // What tree blocks carry as the file system's id.
    const disk::Uuid& tree_fsid() const;
};

// As it is at the first place, with nothing checked but that the volume has room for it and the magic number.
Result<disk::Superblock> read_unchecked(const Volume& volume);

// What keeps it from being a Superblock although it may be right, one phrase: other devices, a checksum or features
// that are not known here. Empty: nothing.
std::string unknown_part(const disk::Superblock& raw);

// Checks identity, checksum, sizes. unsupported: unknown_part(); corrupt names the rule that is broken.
Result<Superblock> read_superblock(const Volume& volume);

// May it be changed? in_use: its log is not replayed; corrupt: marked as having errors, or a copy is damaged;
// unsupported: it is not to be written to. Copies may be older than the first, as a crash can leave them.
Result<void> check_ready(const Volume& volume, const Superblock& superblock);

// Every copy that the device is long enough for differs from the first in place and checksum alone.
Result<void> check_copies(const Volume& volume, const Superblock& superblock);

// To every place that the device is long enough for, as the kernel does it.
Result<void> write_superblock(Volume& volume, const Superblock& superblock);

// Whether any copy is or may come to be in the range.
bool is_for_superblocks(std::uint64_t start, std::uint64_t bytes);

// corrupt: "the file system is damaged: RULE; …"
std::unexpected<Error> broken(std::string_view rule);

}  // namespace qimg::guest::btrfs
