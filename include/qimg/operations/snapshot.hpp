// snapshot: internal snapshots of a qcow2 image.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "qimg/operations/info.hpp"

namespace qimg {

struct SnapshotOptions {
    std::string path;
    OpenOptions open;
    std::string name;  // create: the new snapshot's name; else a name or an id
};

// An internal snapshot by id, by name, or by both; with `either`, by an id or else a name.
struct SnapshotChoice {
    std::optional<std::string> id;
    std::optional<std::string> name;
    bool either = false;
};

Result<std::vector<SnapshotInfo>> snapshot_list(const SnapshotOptions& options,
                                                Opener& opener = file_opener());
// Errors: exists when the name is taken (also when it is another's id), unsupported for formats without
// snapshots.
Result<void> snapshot_create(const SnapshotOptions& options, Opener& opener = file_opener());
// The disk becomes what it was; its size, too, where the format allows. Errors: not_found.
Result<void> snapshot_apply(const SnapshotOptions& options, Opener& opener = file_opener());
Result<void> snapshot_delete(const SnapshotOptions& options, Opener& opener = file_opener());

}  // namespace qimg
