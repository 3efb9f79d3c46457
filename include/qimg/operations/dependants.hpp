// dependants: which images stand on a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "qimg/error.hpp"

namespace qimg {

struct DependantsOptions {
    std::string path;
    std::string except;    // an image that does not count, if not empty
    bool pinning = false;  // only those that remember what `path` was: qimg-pins(7)
};

// The qcow2 images in the folder of `path` that name it as their backing or data file, by name. Only headers
// are read, without regard to locks; files that cannot be read and broken images do not count. Errors:
// not_found and io of reading the folder.
Result<std::vector<std::string>> find_dependants(const DependantsOptions& options);

}  // namespace qimg
