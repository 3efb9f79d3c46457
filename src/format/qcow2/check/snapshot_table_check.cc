// Telling and mending the faults of a snapshot table.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/snapshot_table_check.hpp"

#include <utility>

#include "base/try.hpp"
#include "format/qcow2/snapshot_changes.hpp"

namespace qimg::qcow2 {

Result<void> SnapshotTableCheck::read(Repair repair, const Findings& findings) {
    table_ = TRY(survey_snapshots(image_.storage(), image_.header()));
    if (repair != Repair::all) TRY(refuse());
    tell(repair, findings);
    return {};
}

Result<void> SnapshotTableCheck::refuse() const {
    auto readable = require_readable(table_);
    if (readable) return {};
    Error error = std::move(readable).error();
    if (error.hint.empty()) {
        error.message = "ERROR snapshot table too large";
        error.hint = force_remove(table_.overhanging);
    } else {
        error.message = "ERROR failed to read the snapshot table: " + error.message;
    }
    return std::unexpected<Error>(std::move(error));
}

void SnapshotTableCheck::tell(Repair repair, const Findings& findings) {
    for (const SnapshotTable::Entry& entry : table_.with_much_extra) {
        findings.say(fmt::format("Discarding too much extra metadata in snapshot table entry {} ({} > {})",
                                 entry.index, entry.extra_bytes, snapshot_extra_bytes_max));
    }
    if (table_.overhanging != 0) {
        findings.say(fmt::format("Discarding {} overhanging snapshots{}", table_.overhanging,
                                 table_.is_overhang_of_bytes ? " (snapshot table is too big)" : ""));
    }
    for (const SnapshotTable::Entry& entry : table_.incomplete) {
        findings.say(fmt::format("{} snapshot table entry {} is incomplete",
                                 repair == Repair::all ? "Repairing" : "ERROR", entry.index));
    }
    corruptions_ = table_.with_much_extra.size() + table_.overhanging + table_.incomplete.size();
}

Result<void> SnapshotTableCheck::rewrite() {
    const bool entries_change = !table_.with_much_extra.empty() || !table_.incomplete.empty();
    if (!entries_change) {
        image_.header().snapshot_count = static_cast<std::uint32_t>(table_.snapshots.size());
        return image_.commit_header();
    }
    const Geometry& geometry = image_.geometry();
    const ClusterRun old{geometry.cluster_at(image_.header().snapshot_table),
                         geometry.clusters_for(snapshot_table_bytes(table_.snapshots))};
    TRY(image_.reload());
    TRY(image_.prepare_changing());
    TRY(replace_snapshot_table(image_, table_.snapshots));
    TRY(image_.flush());
    TRY(image_.commit_header());
    image_.release_later(old);
    return image_.flush();
}

}  // namespace qimg::qcow2
