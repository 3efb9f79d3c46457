// Passwords as crypt(3) hashes that cloud-init recognises.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "qimg/error.hpp"
#include "seed/digest.hpp"

namespace qimg::seed {

// The SHA-512 crypt hash of a clear-text password, with a salt taken from `salt_source`; a password that is a
// crypt hash already is returned as it is. `salt_source` must not depend on the password: a quick hash of it
// in the salt would spare an attacker the slow one. Errors: invalid_argument for an empty password, control
// characters, and hashes (yescrypt, say) that cloud-init would take for clear text.
Result<std::string> hash_password(const std::string& password, const Digest& salt_source);

}  // namespace qimg::seed
