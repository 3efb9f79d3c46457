// Files by device and inode.
// SPDX-License-Identifier: Apache-2.0
#include "operations/same_file.hpp"

#include <sys/stat.h>

namespace qimg {

std::optional<FileIdentity> identity_of_file(const std::string& path) {
    struct stat status;
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return FileIdentity{status.st_dev, status.st_ino};
}

bool is_same_file(const std::string& a, const std::string& b) {
    const auto first = identity_of_file(a);
    const auto second = identity_of_file(b);
    return first && second ? *first == *second : a == b;
}

}  // namespace qimg
