// Parsing, checking and building of the snapshot table.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/snapshots.hpp"

#include <algorithm>
#include <cerrno>

#include "base/checked.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

constexpr std::uint64_t no_icount = ~0ull;

std::uint64_t extra_bytes(const Snapshot& snapshot) {
    return sizeof(disk::SnapshotExtra) + snapshot.unknown_extra.size();
}

// Reads `bytes` at `at` and moves on.
class TableReader {
  public:
    TableReader(const Storage& storage, HostOffset start) : storage_(storage), start_(start), at_(start) {}

    Result<Bytes> take(std::uint64_t bytes) {
        Bytes out(bytes);
        TRY(storage_.read(at_, out));
        at_ += bytes;
        return out;
    }
    void skip(std::uint64_t bytes) { at_ += bytes; }
    void align() { at_ = start_ + round_up(at_ - start_, 8); }
    HostOffset position() const { return at_; }

  private:
    const Storage& storage_;
    HostOffset start_;
    HostOffset at_;
};

void parse_extra(std::span<const std::byte> extra, const disk::SnapshotEntry& raw, const Header& header,
                 Snapshot& snapshot) {
    snapshot.info.vm_state_bytes = raw.vm_state_bytes;
    snapshot.info.disk_bytes = header.size;
    if (extra.size() >= 8) snapshot.info.vm_state_bytes = load<be64>(extra);
    if (extra.size() >= 16) snapshot.info.disk_bytes = load<be64>(extra.subspan(8));
    if (extra.size() >= 24) {
        const std::uint64_t icount = load<be64>(extra.subspan(16));
        if (icount != no_icount) snapshot.info.icount = icount;
    }
    if (extra.size() > sizeof(disk::SnapshotExtra)) {
        const auto rest = extra.subspan(sizeof(disk::SnapshotExtra));
        snapshot.unknown_extra.assign(rest.begin(), rest.end());
    }
}

// What QEMU and its users take a name for.
std::string text_to_nul(std::span<const std::byte> bytes) {
    const std::string_view text = text_of(bytes);
    return std::string(text.substr(0, text.find('\0')));
}

Result<Snapshot> read_snapshot(TableReader& reader, const Header& header) {
    const HostOffset start = reader.position();
    const Bytes head = TRY(reader.take(sizeof(disk::SnapshotEntry)));
    const auto raw = load<disk::SnapshotEntry>(head);
    const std::uint32_t kept = std::min<std::uint32_t>(raw.extra_data_size, snapshot_extra_bytes_max);
    const Bytes extra = TRY(reader.take(kept));
    reader.skip(raw.extra_data_size - kept);
    const Bytes id = TRY(reader.take(raw.id_size));
    const Bytes name = TRY(reader.take(raw.name_size));
    reader.align();

    Snapshot snapshot;
    snapshot.entry_bytes = reader.position() - start;
    snapshot.l1_table = HostOffset(raw.l1_table_offset);
    snapshot.l1_entries = raw.l1_size;
    snapshot.info.id = text_to_nul(id);
    snapshot.info.name = text_to_nul(name);
    snapshot.info.date_seconds = raw.date_seconds;
    snapshot.info.date_nanoseconds = raw.date_nanoseconds;
    snapshot.info.vm_clock_nanoseconds = raw.vm_clock_nanoseconds;
    parse_extra(extra, raw, header, snapshot);
    snapshot.extra_bytes = raw.extra_data_size;
    return snapshot;
}

}  // namespace

std::string force_remove(std::uint32_t overhanging) {
    return fmt::format("You can force-remove all {} overhanging snapshots with qimg check -r all",
                       overhanging);
}

Result<SnapshotTable> survey_snapshots(const Storage& storage, const Header& header) {
    SnapshotTable table;
    const auto entries =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(header.snapshot_count, snapshots_max));
    if (entries == 0) return table;
    const std::uint64_t file_bytes = TRY(storage.size());
    // an entry has at least its fixed part: more of them than the file can hold need no reading
    if (header.snapshot_table.bytes > file_bytes ||
        entries > (file_bytes - header.snapshot_table.bytes) / sizeof(disk::SnapshotEntry) + 1) {
        return fail_detailed(ErrorKind::corrupt, "Snapshot table offset invalid",
                             fmt::format("{} snapshots at {:#x}, past the end of the file",
                                         header.snapshot_count, header.snapshot_table.bytes));
    }
    table.overhanging = header.snapshot_count - entries;
    TableReader reader(storage, header.snapshot_table);
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < entries; ++i) {
        Snapshot snapshot = TRY(read_snapshot(reader, header));
        const std::uint64_t excess = snapshot.extra_bytes > snapshot_extra_bytes_max
                                         ? snapshot.extra_bytes - snapshot_extra_bytes_max
                                         : 0;
        bytes = round_up(bytes + snapshot.entry_bytes - excess, 8);
        if (bytes > snapshot_table_bytes_max) {
            table.overhanging = header.snapshot_count - i;
            table.is_overhang_of_bytes = true;
            break;
        }
        const SnapshotTable::Entry entry{i, snapshot.extra_bytes};
        if (entry.extra_bytes > snapshot_extra_bytes_max) table.with_much_extra.push_back(entry);
        if (header.version >= 3 && entry.extra_bytes < snapshot_extra_bytes_min)
            table.incomplete.push_back(entry);
        table.snapshots.push_back(std::move(snapshot));
    }
    return table;
}

Result<void> require_readable(const SnapshotTable& table) {
    const auto refuse = [](std::string message, std::string hint) {
        return std::unexpected<Error>(
            Error{ErrorKind::corrupt, std::move(message), EFBIG, {}, std::move(hint)});
    };
    if (!table.with_much_extra.empty()) {
        return refuse(fmt::format("Too much extra metadata in snapshot table entry {}",
                                  table.with_much_extra.front().index),
                      "You can force-remove this extra metadata with qimg check -r all");
    }
    if (table.overhanging == 0) return {};
    if (!table.is_overhang_of_bytes) return refuse("Snapshot table too large", {});
    return refuse("Snapshot table is too big", force_remove(table.overhanging));
}

Result<std::vector<Snapshot>> read_snapshots(const Storage& storage, const Header& header) {
    SnapshotTable table = TRY(survey_snapshots(storage, header));
    TRY(require_readable(table));
    return std::move(table.snapshots);
}

std::uint64_t snapshot_table_bytes(std::span<const Snapshot> snapshots) {
    std::uint64_t bytes = 0;
    for (const Snapshot& snapshot : snapshots) {
        bytes += snapshot.entry_bytes;
    }
    return bytes;
}

Bytes serialize_snapshots(std::span<const Snapshot> snapshots) {
    Bytes out;
    const auto append = [&](std::span<const std::byte> bytes) {
        out.insert(out.end(), bytes.begin(), bytes.end());
    };
    for (const Snapshot& snapshot : snapshots) {
        disk::SnapshotEntry raw{};
        raw.l1_table_offset = snapshot.l1_table.bytes;
        raw.l1_size = snapshot.l1_entries;
        raw.id_size = static_cast<std::uint16_t>(snapshot.info.id.size());
        raw.name_size = static_cast<std::uint16_t>(snapshot.info.name.size());
        raw.date_seconds = snapshot.info.date_seconds;
        raw.date_nanoseconds = snapshot.info.date_nanoseconds;
        raw.vm_clock_nanoseconds = snapshot.info.vm_clock_nanoseconds;
        // the 64-bit field below is the one that counts; this one is for readers from before it existed
        const std::uint64_t state = snapshot.info.vm_state_bytes;
        raw.vm_state_bytes = state > 0xffffffff ? 0 : static_cast<std::uint32_t>(state);
        raw.extra_data_size = static_cast<std::uint32_t>(extra_bytes(snapshot));
        const disk::SnapshotExtra extra{state, snapshot.info.disk_bytes,
                                        snapshot.info.icount.value_or(no_icount)};
        append(std::as_bytes(std::span(&raw, 1)));
        append(std::as_bytes(std::span(&extra, 1)));
        append(snapshot.unknown_extra);
        append(bytes_of(snapshot.info.id));
        append(bytes_of(snapshot.info.name));
        out.resize(round_up(out.size(), 8));
    }
    return out;
}

Result<std::vector<std::uint64_t>> read_snapshot_l1(const Storage& storage, const Geometry& geometry,
                                                    const Snapshot& snapshot) {
    const auto refuse = [&](std::string message, int system_errno) {
        return std::unexpected<Error>(
            Error{ErrorKind::corrupt, std::move(message), system_errno,
                  fmt::format("snapshot {}, {} entries at {:#x}", printable(snapshot.info.id),
                              snapshot.l1_entries, snapshot.l1_table.bytes)});
    };
    if (snapshot.l1_entries > l1_table_bytes_max / table_entry_bytes) {
        return refuse("Snapshot L1 table too large", EFBIG);
    }
    if (!geometry.is_cluster_aligned(snapshot.l1_table.bytes) || snapshot.l1_table.bytes >= host_offset_end) {
        return refuse("Snapshot L1 table offset invalid", EINVAL);
    }
    // wherever it is: there is nothing to read
    if (snapshot.l1_entries == 0) return std::vector<std::uint64_t>();
    // memory is for what the file has
    const std::uint64_t file_bytes = TRY(storage.size());
    if (!fits_within(snapshot.l1_table.bytes, snapshot.l1_entries * table_entry_bytes,
                     round_up(file_bytes, geometry.cluster_bytes()))) {
        return refuse("Snapshot L1 table past the end of the file", EINVAL);
    }
    return read_l1_table(storage, geometry, snapshot.l1_table, snapshot.l1_entries);
}

Result<std::vector<std::uint64_t>> read_l1_table(const Storage& storage, const Geometry& geometry,
                                                 HostOffset at, std::uint64_t entries) {
    if (entries > l1_table_bytes_max / table_entry_bytes) {
        return failf(ErrorKind::corrupt, "{}: L1 table at {:#x}: {} entries are too many",
                     printable(storage.name()), at.bytes, entries);
    }
    if (!geometry.is_cluster_aligned(at.bytes) || at.bytes >= host_offset_end) {
        return failf(ErrorKind::corrupt, "{}: L1 table at {:#x}: not aligned to the {}-byte cluster",
                     printable(storage.name()), at.bytes, geometry.cluster_bytes());
    }
    // past the end of the file a table reads as zeroes; its memory must not grow with what a header claims
    const std::uint64_t file_bytes = TRY(storage.size());
    const std::uint64_t held = at.bytes < file_bytes ? file_bytes - at.bytes : 0;
    Bytes raw(std::min(entries * table_entry_bytes, round_up(held, table_entry_bytes)));
    TRY(storage.read(at, raw));
    std::vector<std::uint64_t> table(entries, 0);
    for (std::size_t i = 0; i < raw.size() / table_entry_bytes; ++i) {
        table[i] = load<be64>(std::span(raw).subspan(i * table_entry_bytes));
    }
    return table;
}

}  // namespace qimg::qcow2
