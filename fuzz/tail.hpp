// The last bytes of an input are what a target does to the rest: which steps it takes, in which way.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qimg::fuzz {

inline constexpr std::size_t tail_bytes = 16;
using Tail = std::array<std::uint8_t, tail_bytes>;

// Zeroes for an input that is shorter.
inline Tail tail_of(std::span<const std::uint8_t> input) {
    Tail tail{};
    if (input.size() >= tail.size()) std::ranges::copy(input.last(tail.size()), tail.begin());
    return tail;
}

}  // namespace qimg::fuzz
