// Whether the metadata of a file system is whole, judged by its bytes alone: libext2fs, which writes them, is not asked.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "guest/ext4/grow.hpp"
#include "guest/volume.hpp"

namespace qimg::guest::ext4 {

// What is looked at besides the superblock, all descriptors, what they lead to, and the resize inode.
struct Scope {
    std::uint32_t first_group = 0;                 // bitmaps of this group and of all behind it
    std::optional<std::uint32_t> another_group{};  // and of this one
    std::uint32_t first_empty_group = ~0u;         // these hold nothing but metadata
    bool resize_inode_group = false;  // and of the one with the resize inode's double indirect block
    bool backups = false;             // all copies of superblock and descriptors
};

// Checks: the superblock (features, sizes, checksum); each descriptor (checksum, places in bounds and free of each
// other); the sums of free blocks and inodes; within the scope bitmaps (checksum, what metadata takes, padding, counts)
// and backups; the resize inode with all that it leads to. corrupt names the first rule that is broken.
// Reads what it checks and holds less than 200 bytes per group.
Result<void> verify(const Volume& volume, const Scope& scope);

// What grow() has changed, and that the file system fills the volume as said.
Result<void> verify(const Volume& volume, const Growth& growth);

}  // namespace qimg::guest::ext4
