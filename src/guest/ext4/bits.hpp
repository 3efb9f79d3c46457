// Bitmaps as ext4 keeps them: bit 0 is the lowest of the first byte, and a set bit is something in use.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace qimg::guest::ext4 {

// The bits from `start` to `end`, which must be there.
inline void fill_bits(std::span<std::byte> bits, std::uint64_t start, std::uint64_t end, bool value) {
    for (std::uint64_t i = start; i < end;) {
        if (i % 8 == 0 && end - i >= 8) {
            bits[i / 8] = value ? std::byte{0xff} : std::byte{0};
            i += 8;
            continue;
        }
        const std::byte bit = std::byte{1} << (i % 8);
        bits[i / 8] = value ? bits[i / 8] | bit : bits[i / 8] & ~bit;
        ++i;
    }
}

inline bool bit_at(std::span<const std::byte> bits, std::uint64_t index) {
    return (bits[index / 8] & std::byte{1} << (index % 8)) != std::byte{0};
}

inline std::uint32_t count_zeroes(std::span<const std::byte> bits) {
    std::uint32_t ones = 0;
    std::size_t i = 0;
    for (; i + sizeof(std::uint64_t) <= bits.size(); i += sizeof(std::uint64_t)) {
        std::uint64_t word;
        std::memcpy(&word, bits.data() + i, sizeof word);
        ones += static_cast<std::uint32_t>(std::popcount(word));
    }
    for (; i < bits.size(); ++i)
        ones += static_cast<std::uint32_t>(std::popcount(std::to_integer<unsigned>(bits[i])));
    return static_cast<std::uint32_t>(bits.size() * 8) - ones;
}

}  // namespace qimg::guest::ext4
