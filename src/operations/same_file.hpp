// Whether two names lead to one file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "qimg/storage.hpp"

namespace qimg {

// Links followed; nothing when there is no such file.
std::optional<FileIdentity> identity_of_file(const std::string& path);

// By device and inode; names of files that are not there are compared as they are.
bool is_same_file(const std::string& a, const std::string& b);

}  // namespace qimg
