// The cloud-config that options make: who may log in, and how.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/seed.hpp"
#include "seed/digest.hpp"

namespace qimg::seed {

struct LoginConfig {
    std::string text;               // a cloud-config; empty when no option asks for one
    std::vector<std::string> keys;  // its top-level keys
};

// Errors: invalid_argument for a user name, key or password that no guest would take.
Result<LoginConfig> login_config(const SeedOptions& options, const Digest& salt_source);

}  // namespace qimg::seed
