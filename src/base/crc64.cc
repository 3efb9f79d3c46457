// CRC-64 with ISA-L, which reads as fast as memory gives. A file of its own: programs that need only SHA-256 start
// without that library.
// SPDX-License-Identifier: Apache-2.0
#include <isa-l/crc64.h>

#include "base/digest.hpp"

namespace qimg {

std::uint64_t crc64(std::span<const std::byte> bytes, std::uint64_t before) {
    const void* const data = bytes.data();
    return ::crc64_ecma_refl(before, static_cast<const unsigned char*>(data), bytes.size());
}

}  // namespace qimg
