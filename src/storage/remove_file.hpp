// A file's name gone for good.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "qimg/error.hpp"

namespace qimg {

// Removes the name, and returns when a crash cannot bring it back. Errors: those of the system.
Result<void> remove_file(const std::string& path);

}  // namespace qimg
