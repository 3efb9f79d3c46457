// Byte by byte, with a table that the compiler makes.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/checksum.hpp"

#include <array>

namespace qimg::guest::ext4 {

namespace {

constexpr std::array<std::uint16_t, 256> make_table() {
    constexpr unsigned reversed_polynomial = 0xa001;
    std::array<std::uint16_t, 256> table{};
    for (std::size_t i = 0; i < table.size(); ++i) {
        unsigned value = static_cast<unsigned>(i);
        for (int bit = 0; bit < 8; ++bit)
            value = (value & 1) != 0 ? (value >> 1) ^ reversed_polynomial : value >> 1;
        table[i] = static_cast<std::uint16_t>(value);
    }
    return table;
}

constexpr auto crc16_table = make_table();

}  // namespace

std::uint16_t crc16(std::uint16_t before, std::span<const std::byte> bytes) {
    for (const std::byte b : bytes)
        before = static_cast<std::uint16_t>((before >> 8) ^
                                            crc16_table[(before ^ std::to_integer<unsigned>(b)) & 0xff]);
    return before;
}

}  // namespace qimg::guest::ext4
