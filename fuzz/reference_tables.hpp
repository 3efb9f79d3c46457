// A second opinion on partition tables, from the UEFI specification's sentences alone: slow, and sharing no code
// with the library.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <span>

#include "partition/tables.hpp"

namespace qimg::fuzz {

struct ReferenceVerdict {
    std::set<partition::TableRule> broken;
    // Some partition ends before it begins: what it overlaps is a matter of taste.
    bool has_inverted = false;
};

ReferenceVerdict judge_tables(std::span<const std::uint8_t> disk);

}  // namespace qimg::fuzz
