// Byte by byte, with a table that the compiler makes.
// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.hpp"

#include <array>

namespace qimg {

namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
    constexpr std::uint32_t reversed_polynomial = 0x82f63b78;
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        table[i] = i;
        for (int bit = 0; bit < 8; ++bit)
            table[i] = (table[i] & 1) != 0 ? (table[i] >> 1) ^ reversed_polynomial : table[i] >> 1;
    }
    return table;
}

constexpr auto table = make_table();

}  // namespace

std::uint32_t crc32c(std::uint32_t before, std::span<const std::byte> bytes) {
    for (const std::byte b : bytes)
        before = (before >> 8) ^ table[(before ^ std::to_integer<std::uint32_t>(b)) & 0xff];
    return before;
}

}  // namespace qimg
