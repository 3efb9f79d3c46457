// File identifiers: what a name becomes in a plain ISO 9660 and in a Joliet directory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/volume.hpp"

namespace qimg::iso9660 {

inline constexpr std::size_t joliet_name_max = 64;  // characters

// Refuses what Joliet cannot hold, or no guest could open: an empty or too long name, other than printable
// ASCII, one of `*/:;?\`, "." and "..", a name that occurs twice.
Result<void> check_names(std::span<const VolumeFile> files);

// Identifiers of interchange level 1 (ECMA-119 10.1): eight capitals, digits and underscores, a dot, three of
// them, ";1"; unlike each other, in the order of `files`, of which there are at most 256.
std::vector<std::string> level_1_identifiers(std::span<const VolumeFile> files);

// ASCII as UCS-2, big-endian.
std::string ucs2(std::string_view ascii);

}  // namespace qimg::iso9660
