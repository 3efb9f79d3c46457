// Taking, applying and deleting internal snapshots.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshots.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

struct SnapshotTime {
    std::uint32_t seconds = 0;  // since the Epoch
    std::uint32_t nanoseconds = 0;
};

// The snapshot with this id, else with this name. Errors: not_found.
Result<Snapshot> find_snapshot(const Qcow2& image, const std::string& name_or_id);

// A new snapshot table in new clusters, known to the header in memory only; the old one's clusters stay counted.
// Errors: no_space (EFBIG) for a table that would be too large.
Result<void> replace_snapshot_table(Qcow2& image, const std::vector<Snapshot>& snapshots);

// Each of these ends in one write of the header, before which the image is what it was. Errors: unsupported
// with an external data file (ENOTSUP), and for refcounts that cannot grow (EINVAL); not_found;
// invalid_argument for going back under bitmaps, which would miss that; no_space. A snapshot to go back to is
// looked for by its id first, one to delete by its name.
Result<void> create_snapshot(Qcow2& image, const std::string& name, SnapshotTime time);
Result<void> apply_snapshot(Qcow2& image, const std::string& name_or_id);
Result<void> delete_snapshot(Qcow2& image, const std::string& name_or_id);

}  // namespace qimg::qcow2
