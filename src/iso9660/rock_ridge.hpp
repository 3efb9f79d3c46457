// System use areas of directory records: Rock Ridge attributes, times and names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qimg::iso9660 {

// For the root's own record ".": announces the sharing protocol and points to the continuation area.
std::string root_system_use(std::int64_t time, std::size_t continuation_bytes);
// For the root's parent record "..".
std::string parent_system_use(std::int64_t time);
// For a file with this name; the name may have up to 64 characters.
std::string file_system_use(std::string_view name, std::int64_t time);
// The continuation area: names the extension, RRIP_1991A.
std::string continuation_area();

}  // namespace qimg::iso9660
