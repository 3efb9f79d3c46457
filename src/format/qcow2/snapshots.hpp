// The snapshot table: reading, checking, and replacing it as a whole. qcow2 "Snapshots".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "format/qcow2/header.hpp"
#include "qimg/error.hpp"
#include "qimg/image_info.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

struct Snapshot {
    SnapshotInfo info;
    HostOffset l1_table;
    std::uint32_t l1_entries = 0;
    std::uint64_t entry_bytes = 0;  // of its table entry as it was read
    std::uint32_t extra_bytes = 0;  // of extra data as it was read
    Bytes unknown_extra;            // extra data behind the fields known here, kept on rewrite
};

// A snapshot table as it stands, and what of it breaks a rule that a rewritten table keeps.
struct SnapshotTable {
    struct Entry {
        std::uint32_t index;
        std::uint32_t extra_bytes;
    };
    std::vector<Snapshot> snapshots;     // what fits the limits, extra data cut to snapshot_extra_bytes_max
    std::vector<Entry> with_much_extra;  // more extra data than that
    std::vector<Entry> incomplete;       // less than version 3 prescribes
    std::uint32_t overhanging = 0;       // entries behind the limits, not read
    bool is_overhang_of_bytes = false;   // behind the limit of bytes, not of entries
};

// Reads what can be read; where L1 tables are is checked when one is read. Errors: corrupt when the table cannot
// be in this file. Bounded by snapshots_max and snapshot_table_bytes_max.
Result<SnapshotTable> survey_snapshots(const Storage& storage, const Header& header);

// The first fault of a table that keeps the image from being opened, in QEMU's words; incomplete entries do not.
Result<void> require_readable(const SnapshotTable& table);

// What to do about overhanging entries, for Error::hint.
std::string force_remove(std::uint32_t overhanging);

// The snapshots of a table without such a fault. Errors: as the two above.
Result<std::vector<Snapshot>> read_snapshots(const Storage& storage, const Header& header);

// The bytes of a table with these entries.
Bytes serialize_snapshots(std::span<const Snapshot> snapshots);

// The length of the table that the header points to, as read_snapshots saw it.
std::uint64_t snapshot_table_bytes(std::span<const Snapshot> snapshots);

// The L1 table of a snapshot. Errors: corrupt in QEMU's words, with the errno that it counts as.
Result<std::vector<std::uint64_t>> read_snapshot_l1(const Storage& storage, const Geometry& geometry,
                                                    const Snapshot& snapshot);

// Any L1 table. Errors: corrupt when it is unaligned or too large for `what` to have.
Result<std::vector<std::uint64_t>> read_l1_table(const Storage& storage, const Geometry& geometry,
                                                 HostOffset at, std::uint64_t entries);

}  // namespace qimg::qcow2
