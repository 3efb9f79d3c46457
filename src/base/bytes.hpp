// Byte buffers: views of objects, and a test for zeroes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace qimg {

using Bytes = std::vector<std::byte>;

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

inline std::string_view text_of(std::span<const std::byte> bytes) {
    return std::string_view(static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size());
}

// True when every byte is zero; true for an empty span.
inline bool is_zero(std::span<const std::byte> bytes) {
    // comparing the buffer with itself, shifted by 16, lets memcmp's vector code do the work
    constexpr std::size_t head = 16;
    for (std::size_t i = 0; i < bytes.size() && i < head; ++i) {
        if (bytes[i] != std::byte{0}) return false;
    }
    return bytes.size() <= head || std::memcmp(bytes.data(), bytes.data() + head, bytes.size() - head) == 0;
}

}  // namespace qimg
