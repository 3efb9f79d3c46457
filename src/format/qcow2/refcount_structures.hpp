// Refcount structures written anew, as a whole: after a check found them unusable, or in another width.
//
// Knows where new blocks and a new table go and what they hold; what the counts should be is the caller's
// knowledge. The old structures stay as they are, so that until the header points to the new ones, and after a
// crash before that, the image is what it was.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/qcow2/check/cluster_counts.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"
#include "qimg/progress.hpp"

namespace qimg::qcow2 {

// Writes a table and blocks with these counts, in the width of `geometry`, to clusters that have none, and has
// the image's header point to them in memory. `let_go`: what nothing refers to any more once the header does; it stays
// as it is until then, and has a reference less in what is written. `counts` has what was written afterwards.
// Errors: io; no_space for a table that would be too large.
Result<void> write_refcount_structures(Qcow2& image, const Geometry& geometry, ClusterCounts& counts,
                                       std::span<const ClusterRun> let_go, Progress& progress);

// Structures that hold the counts that a check made, published by one write of the header. The old ones
// (`old_table`: the refcount table's entries) stay counted. Errors: io, no_space.
Result<void> rebuild_refcounts(Qcow2& image, ClusterCounts& counts,
                               const std::vector<std::uint64_t>& old_table);

// What the image's refcounts say in the file, for a width whose largest count is `limit`. The refcounts must be
// loaded, and nothing changed in memory. Errors: invalid_argument for a count above the limit; corrupt for
// a table that cannot be followed.
Result<ClusterCounts> read_refcounts(Qcow2& image, std::uint64_t limit);

}  // namespace qimg::qcow2
