// Big- and little-endian fields of on-disk structures. Their alignment is 1, so structs built of them have
// no padding; they are copied out of a buffer, never cast onto it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace qimg {

template <std::unsigned_integral T, std::endian Order>
class Field {
  public:
    Field() = default;
    constexpr Field(T value) : bytes_(std::bit_cast<decltype(bytes_)>(swapped(value))) {}
    constexpr operator T() const { return swapped(std::bit_cast<T>(bytes_)); }

  private:
    struct Bytes {
        std::byte b[sizeof(T)];
    };
    static constexpr T swapped(T value) {
        if constexpr (Order == std::endian::native) return value;
        return std::byteswap(value);
    }
    Bytes bytes_{};
};

using be16 = Field<std::uint16_t, std::endian::big>;
using be32 = Field<std::uint32_t, std::endian::big>;
using be64 = Field<std::uint64_t, std::endian::big>;
using le16 = Field<std::uint16_t, std::endian::little>;
using le32 = Field<std::uint32_t, std::endian::little>;
using le64 = Field<std::uint64_t, std::endian::little>;

// Copies a T out of the front of `bytes`, which must be long enough.
template <class T>
requires std::is_trivially_copyable_v<T> T load(std::span<const std::byte> bytes) {
    T value;
    std::memcpy(&value, bytes.first(sizeof(T)).data(), sizeof(T));
    return value;
}

// Copies a T to the front of `bytes`, which must be long enough.
template <class T>
requires std::is_trivially_copyable_v<T>
void store(std::span<std::byte> bytes, const T& value) {
    std::memcpy(bytes.first(sizeof(T)).data(), &value, sizeof(T));
}

}  // namespace qimg
