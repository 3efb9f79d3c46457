// Checksums of the CRC family, eight bytes at a time, with tables that the compiler makes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/endian.hpp"

namespace qimg {

template <std::unsigned_integral Sum>
using CrcTables = std::array<std::array<Sum, 256>, 8>;

// tables[n][b]: what the byte b becomes with n bytes of zeroes behind it.
template <std::unsigned_integral Sum>
constexpr CrcTables<Sum> make_crc_tables(Sum reversed_polynomial) {
    CrcTables<Sum> tables{};
    for (std::size_t i = 0; i < 256; ++i) {
        auto value = static_cast<Sum>(i);
        for (int bit = 0; bit < 8; ++bit)
            value = (value & 1) != 0 ? (value >> 1) ^ reversed_polynomial : value >> 1;
        tables[0][i] = value;
    }
    for (std::size_t n = 1; n < tables.size(); ++n) {
        for (std::size_t i = 0; i < 256; ++i)
            tables[n][i] = (tables[n - 1][i] >> 8) ^ tables[0][tables[n - 1][i] & 0xff];
    }
    return tables;
}

// Goes on from `before`, bits reversed, and inverts nothing.
template <std::unsigned_integral Sum>
Sum sliced_crc(const CrcTables<Sum>& tables, Sum before, std::span<const std::byte> bytes) {
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
        const std::uint64_t word = load<le64>(bytes) ^ before;
        before = 0;
        for (std::size_t n = 0; n < 8; ++n)
            before ^= tables[7 - n][word >> (8 * n) & 0xff];
    }
    for (const std::byte b : bytes)
        before = (before >> 8) ^ tables[0][(before ^ std::to_integer<Sum>(b)) & 0xff];
    return before;
}

}  // namespace qimg
