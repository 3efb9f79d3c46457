// The root directory, once as plain ISO 9660 with Rock Ridge and once as Joliet.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"

namespace qimg::iso9660 {

// One file as a directory records it.
struct Record {
    std::string identifier;  // level-1 or UCS-2
    std::string system_use;  // empty in Joliet
    std::uint32_t block = 0;
    std::uint32_t bytes = 0;
};

struct Directory {
    std::vector<Record> records;
    std::string own_system_use;     // of "."
    std::string parent_system_use;  // of ".."
    std::int64_t time = 0;
};

// Puts the records in the order that ECMA-119 9.3 asks for.
void sort_records(std::vector<Record>& records);

// Whole blocks that the directory takes. Identifiers and system use must fit into records (254 bytes).
std::uint32_t directory_blocks(const Directory& directory);

// The directory's blocks, for its place at `block`.
Bytes directory_bytes(const Directory& directory, std::uint32_t block);

}  // namespace qimg::iso9660
