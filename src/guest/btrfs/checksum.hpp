// The checksums of btrfs, of superblocks and tree blocks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "guest/btrfs/disk_layout.hpp"

namespace qimg::guest::btrfs {

enum class ChecksumType { crc32c, xxhash64, sha256 };

// By its number in the superblock; nothing for those that are not computed here, blake2b among them.
std::optional<ChecksumType> checksum_type(std::uint16_t number);

// As it is stored: zeroes behind a shorter one.
using Checksum = std::array<std::byte, disk::checksum_bytes>;

// Of a whole superblock or tree block: all but the place of the checksum itself.
Checksum checksum_of_block(ChecksumType type, std::span<const std::byte> block);

// XXH64 with seed 0, by the xxHash specification 0.1.1.
std::uint64_t xxhash64(std::span<const std::byte> bytes);

}  // namespace qimg::guest::btrfs
