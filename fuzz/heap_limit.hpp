// How much memory a piece of code holds at a time, at the most.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace qimg::fuzz {

// While it lives, what is allocated and not freed may be this much; more ends the program. Counts only in a build
// with AddressSanitizer. One at a time.
class HeapLimit {
  public:
    explicit HeapLimit(std::uint64_t bytes);
    ~HeapLimit();
    HeapLimit(const HeapLimit&) = delete;
    HeapLimit& operator=(const HeapLimit&) = delete;
};

// What is promised for reading a file of that many bytes: 64 MiB, and its tables as they are in memory.
constexpr std::uint64_t heap_bytes_for(std::uint64_t file_bytes) {
    constexpr std::uint64_t fixed = 64ull << 20;
    constexpr std::uint64_t per_byte = 8;
    return fixed + per_byte * file_bytes;
}

}  // namespace qimg::fuzz
