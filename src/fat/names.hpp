// Names on a FAT volume: the long one that people see, the short one that it hangs on, the label.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fat/disk_layout.hpp"
#include "qimg/error.hpp"
#include "qimg/volume.hpp"

namespace qimg::fat {

// Eleven bytes: name and extension, padded with spaces.
using ShortName = std::array<char, 11>;

// Refuses a name that is empty, longer than 255 characters, other than printable ASCII, has one of
// `"*/:<>?\|`, ends in a dot or a space, or occurs twice without regard to case.
Result<void> check_names(std::span<const VolumeFile> files);

// The label in capitals. Errors: invalid_argument for other than 1 to 11 letters, digits, `_` or `-`.
Result<ShortName> label_name(std::string_view label);

// Short names of the form `USER-D~1`, unlike each other, in the order of `files`.
std::vector<ShortName> short_names(std::span<const VolumeFile> files);

// The entries that hold the long name, in the order in which they precede the short entry.
std::vector<LongEntry> long_entries(std::string_view name, const ShortName& short_name);

}  // namespace qimg::fat
