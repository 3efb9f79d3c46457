// Finding a snapshot, and putting its L1 table in place of the active one in memory.
// SPDX-License-Identifier: Apache-2.0
#include "operations/snapshot_view.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg {

namespace {

constexpr const char* no_snapshot = "Failed to load snapshot: Can't find snapshot";

// An id is looked for before a name, as qemu-img does.
Result<qcow2::Snapshot> find_snapshot(const qcow2::Qcow2& image, const SnapshotChoice& wanted) {
    const auto snapshots = TRY(qcow2::read_snapshots(image.storage(), image.header()));
    const bool exact = wanted.id.has_value() && wanted.name.has_value();
    const auto has_id = [&](const auto& snapshot) { return wanted.id && snapshot.info.id == *wanted.id; };
    const auto has_name = [&](const auto& snapshot) {
        return wanted.name && snapshot.info.name == *wanted.name;
    };
    for (const auto& snapshot : snapshots) {
        if (wanted.either ? has_id(snapshot)
            : exact       ? has_id(snapshot) && has_name(snapshot)
                          : has_id(snapshot)) {
            return snapshot;
        }
    }
    for (const auto& snapshot : snapshots) {
        if ((wanted.either || !exact) && has_name(snapshot)) return snapshot;
    }
    return fail(ErrorKind::not_found, no_snapshot);
}

}  // namespace

Result<void> show_snapshot(Image& image, const SnapshotChoice& wanted) {
    auto* qcow2 = dynamic_cast<qcow2::Qcow2*>(&image.format());
    if (qcow2 == nullptr) {
        return failf(
            ErrorKind::unsupported,
            "Failed to load snapshot: Block format '{}' used by device '' does not support temporarily "
            "loading internal snapshots",
            image.format_name());
    }
    const qcow2::Snapshot found = TRY(find_snapshot(*qcow2, wanted));
    const qcow2::Geometry& geometry = qcow2->geometry();
    auto loaded = qcow2::read_snapshot_l1(qcow2->storage(), geometry, found);
    if (!loaded) {
        loaded.error().message = "Failed to load snapshot: " + loaded.error().message;
        return std::unexpected<Error>(loaded.error());
    }
    std::vector<std::uint64_t> table = std::move(*loaded);
    const std::uint64_t size = std::max(qcow2->size(), found.info.disk_bytes);
    const std::uint64_t entries = geometry.l1_entries_for(size);
    if (entries > qcow2::l1_table_bytes_max / qcow2::table_entry_bytes) {
        return failf(ErrorKind::corrupt,
                     "{}: snapshot of a disk of {} bytes, larger than any L1 table can map",
                     printable(image.path()), size);
    }
    table.resize(std::max<std::size_t>(table.size(), entries));
    qcow2->header().size = size;
    qcow2->replace_l1(found.l1_table, std::move(table));
    return {};
}

}  // namespace qimg
