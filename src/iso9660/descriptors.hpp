// Volume descriptors (ECMA-119 8): the primary one and Joliet's supplementary one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/bytes.hpp"

namespace qimg::iso9660 {

struct Volume {
    std::string id;
    std::uint32_t blocks = 0;  // the size of the whole volume
    std::int64_t time = 0;
};

// Where one of the two directory trees lies.
struct Tree {
    std::span<const std::byte> root;  // its root directory
    std::uint32_t path_table_l_block = 0;
    std::uint32_t path_table_m_block = 0;
    std::uint32_t path_table_bytes = 0;
};

// One block each.
Bytes primary_descriptor(const Volume& volume, const Tree& tree);
Bytes joliet_descriptor(const Volume& volume, const Tree& tree);
Bytes terminator();

}  // namespace qimg::iso9660
