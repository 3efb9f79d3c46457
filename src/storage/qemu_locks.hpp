// QEMU's image locks: who else uses this image, and for what. They lie on bytes 100 to 299 of the file as
// open-file-description locks, so a crash releases them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg {

// The byte that whoever may change the image holds a lock on.
inline constexpr long write_lock_byte = 101;

// Takes the locks that QEMU takes for the same kind of access and tests for conflicting users. The locks
// live as long as the open file description. File systems without such locks are used without.
// Errors: in_use, with QEMU's words, the users in its detail; all locks are released again.
Result<void> lock_as_qemu(int descriptor, Access access, const std::string& name);

}  // namespace qimg
