// -l SNAPSHOT: which internal snapshot of the source is meant.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "qimg/operations/snapshot.hpp"

namespace qimg::cli {

// "snapshot.id=ID,snapshot.name=NAME", or one word that may be either. Empty, with the error printed, when it
// is neither.
std::optional<SnapshotChoice> parse_snapshot_choice(const std::string& text);

}  // namespace qimg::cli
