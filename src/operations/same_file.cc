// Files by device and inode.
// SPDX-License-Identifier: Apache-2.0
#include "operations/same_file.hpp"

#include <sys/stat.h>

namespace qimg {

bool is_same_file(const std::string& a, const std::string& b) {
    struct stat first;
    struct stat second;
    if (::stat(a.c_str(), &first) != 0 || ::stat(b.c_str(), &second) != 0) return a == b;
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace qimg
