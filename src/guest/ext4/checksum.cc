// Byte by byte, with tables that the compiler makes.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/checksum.hpp"

#include <array>

namespace qimg::guest::ext4 {

namespace {

template <class T>
constexpr std::array<T, 256> table_of(T reversed_polynomial) {
    std::array<T, 256> table{};
    for (std::size_t i = 0; i < table.size(); ++i) {
        T value = static_cast<T>(i);
        for (int bit = 0; bit < 8; ++bit)
            value = static_cast<T>((value & 1) != 0 ? (value >> 1) ^ reversed_polynomial : value >> 1);
        table[i] = value;
    }
    return table;
}

constexpr auto crc32c_table = table_of<std::uint32_t>(0x82f63b78);
constexpr auto crc16_table = table_of<std::uint16_t>(0xa001);

template <class T>
T checksum(const std::array<T, 256>& table, T value, std::span<const std::byte> bytes) {
    for (const std::byte b : bytes)
        value = static_cast<T>((value >> 8) ^ table[(value ^ std::to_integer<unsigned>(b)) & 0xff]);
    return value;
}

}  // namespace

std::uint32_t crc32c(std::uint32_t before, std::span<const std::byte> bytes) {
    return checksum(crc32c_table, before, bytes);
}

std::uint16_t crc16(std::uint16_t before, std::span<const std::byte> bytes) {
    return checksum(crc16_table, before, bytes);
}

}  // namespace qimg::guest::ext4
