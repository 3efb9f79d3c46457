// CRC-64 with ISA-L, which reads as fast as memory gives; without it, an eighth as fast.
// SPDX-License-Identifier: Apache-2.0
#include "base/digest.hpp"
#include "base/isal.hpp"
#include "base/sliced_crc.hpp"

namespace qimg {

namespace {

constexpr auto tables = make_crc_tables<std::uint64_t>(0xc96c5795d7870f42);
// a few microseconds' worth
constexpr std::size_t too_short_to_load_a_library = 4096;

}  // namespace

std::uint64_t crc64(std::span<const std::byte> bytes, std::uint64_t before) {
    const Isal* const isal = bytes.size() < too_short_to_load_a_library ? nullptr : load_isal();
    if (isal == nullptr) return ~sliced_crc(tables, ~before, bytes);
    const void* const data = bytes.data();
    return isal->crc64_ecma_refl(before, static_cast<const unsigned char*>(data), bytes.size());
}

}  // namespace qimg
