// Arithmetic on numbers that come from a file or a command line: overflow is an answer, not a surprise.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace qimg {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
    std::uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
    return sum;
}

inline std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
    std::uint64_t product;
    if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
    return product;
}

// True when [start, start + length) lies inside [0, limit).
inline bool fits_within(std::uint64_t start, std::uint64_t length, std::uint64_t limit) {
    const auto end = checked_add(start, length);
    return end && *end <= limit;
}

}  // namespace qimg
