// An ImageInfo as qemu-img writes it: for people, and as JSON.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "cli/qimg/json_text.hpp"
#include "qimg/image_info.hpp"

namespace qimg::cli {

// Prints the description for people.
void print_info(const ImageInfo& image);
// Prints the table of snapshots, its title line included.
void print_snapshots(const std::vector<SnapshotInfo>& snapshots);
// The same as a list of objects.
Json snapshots_json(const std::vector<SnapshotInfo>& snapshots);
// The members in QEMU's order.
Json info_json(const ImageInfo& image);

}  // namespace qimg::cli
