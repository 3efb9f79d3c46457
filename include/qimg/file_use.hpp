// Whether an image is in use, as QEMU's locks on its file tell anybody who asks; file_users.hpp says by whom.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace qimg {

enum class FileUse {
    none,   // or it cannot be told
    read,   // somebody relies on it to stay as it is
    write,  // somebody may change it
};

// By other processes, and by what this one has opened with Locking::qemu. Takes no lock, so it gets in nobody's
// way; the answer may be an old one when it comes.
FileUse file_use(const std::string& path);

}  // namespace qimg
