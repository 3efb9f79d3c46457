// Chunks: which stretch of addresses lies where on the device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "guest/btrfs/superblock.hpp"

namespace qimg::guest::btrfs {

struct Chunk {
    std::uint64_t logical = 0;          // its first address
    std::uint64_t length = 0;           // of each copy
    std::uint64_t type = 0;             // disk::ChunkType
    std::vector<std::uint64_t> copies;  // where each begins on the device

    bool contains(std::uint64_t start, std::uint64_t bytes) const {
        return start >= logical && start - logical <= length && bytes <= length - (start - logical);
    }
    // Of an address that it contains, on the device.
    std::vector<std::uint64_t> places_of(std::uint64_t address) const;
};

// The one that contains the range; null: none does.
const Chunk* find_chunk(std::span<const Chunk> chunks, std::uint64_t start, std::uint64_t bytes);

// `item`: all of it, from the chunk tree or the superblock. Every copy lies on the file system's one device, inside
// it, and apart from the others. corrupt names the rule that is broken.
Result<Chunk> parse_chunk(const Superblock& superblock, std::uint64_t logical,
                          std::span<const std::byte> item);

// Those that the chunk tree is in, from the superblock: neither their addresses nor their copies overlap.
Result<std::vector<Chunk>> read_system_chunks(const Superblock& superblock);

}  // namespace qimg::guest::btrfs
