// Eight bytes at a time, with tables that the compiler makes.
// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.hpp"

#include <array>

#include "base/endian.hpp"

namespace qimg {

namespace {

using Table = std::array<std::uint32_t, 256>;

// tables[n][b]: what the byte b becomes with n bytes of zeroes behind it.
constexpr std::array<Table, 8> make_tables() {
    constexpr std::uint32_t reversed_polynomial = 0x82f63b78;
    std::array<Table, 8> tables{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
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

constexpr std::array<Table, 8> tables = make_tables();

}  // namespace

std::uint32_t crc32c(std::uint32_t before, std::span<const std::byte> bytes) {
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
        const std::uint64_t word = load<le64>(bytes) ^ before;
        before = 0;
        for (std::size_t n = 0; n < 8; ++n)
            before ^= tables[7 - n][word >> (8 * n) & 0xff];
    }
    for (const std::byte b : bytes)
        before = (before >> 8) ^ tables[0][(before ^ std::to_integer<std::uint32_t>(b)) & 0xff];
    return before;
}

}  // namespace qimg
