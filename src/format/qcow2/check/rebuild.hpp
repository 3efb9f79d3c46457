// Rebuilding: new refcount blocks and a new refcount table, written beside the old ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "format/qcow2/check/cluster_counts.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

// Writes refcounts that say what `counts` says, in clusters that nothing refers to, and makes the header
// point to them in one write. The old structures (`old_table`: the refcount table's entries) stay as they are
// and counted, so that until then, and after a crash, the image is what it was. `counts` has the new
// structures' clusters afterwards. Errors: io, no_space.
Result<void> rebuild_refcounts(Qcow2& image, ClusterCounts& counts,
                               const std::vector<std::uint64_t>& old_table);

}  // namespace qimg::qcow2
