// Makes a btrfs file system on one device as long as the volume that it lies on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "guest/growth.hpp"
#include "guest/volume.hpp"
#include "qimg/error.hpp"

namespace qimg::guest::btrfs {

// What a superblock tells of the device that it is on.
struct Device {
    std::uint64_t number = 0;  // as `btrfs filesystem resize NUMBER:max` takes it
    std::uint64_t bytes = 0;   // any number
    std::string guest_only;    // why only the guest's kernel makes it longer; empty: grow() may
};

// Nothing else is checked. corrupt: there is no btrfs.
Result<Device> read_device(const Volume& volume);

// Fills volume.size() in whole sectors: the length of the device changes where it stands, in the leaf of the chunk tree
// and in the superblocks, whose copies are added as the device comes to be long enough. Generations stay as they are.
//
// Writes in any order: after an error the volume has to be thrown away. Ends with what verify() accepts.
// in_use: its log is not replayed, or its device is being replaced; corrupt: a rule of the format is broken, or marked as having errors; unsupported:
// with the reason, that of read_device() among them.
Result<Growth> grow(Volume& volume);

// Whether superblocks and chunk tree are whole, and the file system is as long as said.
Result<void> verify(const Volume& volume, const Growth& growth);

}  // namespace qimg::guest::btrfs
