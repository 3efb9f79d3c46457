// The entries of one refcount block: reading, searching and changing them, many at once.
//
// A block is a cluster of entries of 2^order bits. Entries narrower than a byte count from its least significant
// bit. qcow2 "Host cluster management".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qimg::qcow2 {

std::uint64_t get_refcount(std::span<const std::byte> block, unsigned order, std::uint64_t index);
void set_refcount(std::span<std::byte> block, unsigned order, std::uint64_t index, std::uint64_t value);

// As many entries from `first` on as there are counts; those that are written fit the width.
void decode_refcounts(std::span<const std::byte> block, unsigned order, std::uint64_t first,
                      std::span<std::uint64_t> counts);
void encode_refcounts(std::span<std::byte> block, unsigned order, std::uint64_t first,
                      std::span<const std::uint16_t> counts);

// Entries by index: [first, end).
struct EntryRange {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
};

// The first entry of the range that is 0, or that is not; the range's end when there is none.
std::uint64_t find_zero_refcount(std::span<const std::byte> block, unsigned order, EntryRange range);
std::uint64_t find_used_refcount(std::span<const std::byte> block, unsigned order, EntryRange range);
// Likewise, the first that is not `than`.
std::uint64_t find_other_refcount(std::span<const std::byte> block, unsigned order, EntryRange range,
                                  std::uint64_t than);

// Adds 1 to each entry, or takes 1. Stops before the first entry that cannot be changed so (it has the highest
// value of its width, or is 0) and returns its index; the range's end when all are changed.
std::uint64_t raise_refcounts(std::span<std::byte> block, unsigned order, EntryRange range);
std::uint64_t lower_refcounts(std::span<std::byte> block, unsigned order, EntryRange range);

}  // namespace qimg::qcow2
