// network-config: is it of a version that cloud-init knows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qimg/error.hpp"
#include "qimg/seed.hpp"

namespace qimg::seed {

// Accepts version 1 or 2, with or without the outer `network:`, and `config: disabled`. Errors: corrupt, with
// line and column, for everything that would leave the guest with cloud-init's fallback network.
Result<void> check_network_config(const SeedText& text);

}  // namespace qimg::seed
