// The polynomial of CRC-32C.
// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.hpp"

#include "base/sliced_crc.hpp"

namespace qimg {

namespace {

constexpr auto tables = make_crc_tables<std::uint32_t>(0x82f63b78);

}  // namespace

std::uint32_t crc32c(std::uint32_t before, std::span<const std::byte> bytes) {
    return sliced_crc(tables, before, bytes);
}

}  // namespace qimg
