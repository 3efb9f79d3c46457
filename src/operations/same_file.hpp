// is_same_file: whether two names mean one file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace qimg {

// Files that cannot be looked at are compared by name.
bool is_same_file(const std::string& a, const std::string& b);

}  // namespace qimg
