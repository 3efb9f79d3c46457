// Internal snapshots: sharing tables, switching tables, giving shares back.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/snapshot_changes.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/reference_walk.hpp"

namespace qimg::qcow2 {

namespace {

constexpr std::size_t name_bytes_max = 255;  // QEMU cuts a name here, and reads no longer ones

Result<void> check_supported(const Qcow2& image) {
    if (!image.header().has_data_file()) return {};
    return fail(ErrorKind::unsupported, "Internal snapshots are not possible with an external data file",
                ENOTSUP);
}

std::uint64_t number_of(const std::string& id) {
    std::uint64_t number = 0;
    std::from_chars(id.data(), id.data() + id.size(), number);
    return number;
}

std::string next_id(const std::vector<Snapshot>& snapshots) {
    std::uint64_t highest = 0;
    for (const Snapshot& snapshot : snapshots)
        highest = std::max(highest, number_of(snapshot.info.id));
    return fmt::format("{}", highest + 1);
}

auto find_in(std::vector<Snapshot>& snapshots, const std::string& name_or_id,
             std::string SnapshotInfo::*first, std::string SnapshotInfo::*then) {
    const auto find = [&](std::string SnapshotInfo::*member) {
        return std::ranges::find_if(snapshots,
                                    [&](const Snapshot& s) { return s.info.*member == name_or_id; });
    };
    const auto found = find(first);
    return found != snapshots.end() ? found : find(then);
}

std::unexpected<Error> not_found(const std::string& name_or_id) {
    return failf(ErrorKind::not_found, "Can't find snapshot '{}'", printable(name_or_id));
}

ClusterRun clusters_of(const Geometry& geometry, HostOffset at, std::uint64_t bytes) {
    return {geometry.cluster_at(at), geometry.clusters_for(bytes)};
}

// The copied flags mean nothing outside the active table.
Result<HostOffset> write_snapshot_l1(Qcow2& image, std::span<const std::uint64_t> active) {
    std::vector<std::uint64_t> entries(active.begin(), active.end());
    for (std::uint64_t& entry : entries)
        entry &= ~disk::flag_copied;
    return image.write_new_l1(entries);
}

// After a reference count that would have overflowed: only memory knows of the others yet, and forgets them. The
// copy of the L1 table stays behind as leaked clusters, which scripts that check an image after a failed
// `qemu-img snapshot` expect.
Result<void> keep_l1_copy_only(Qcow2& image) {
    TRY(image.reload());
    TRY(image.prepare_changing());
    const auto l1 = TRY(image.l1());
    TRY(write_snapshot_l1(image, l1));
    return image.flush();
}

// The tables of `entries` that `others` does not have at the same place.
std::vector<std::uint64_t> without_common(std::span<const std::uint64_t> entries,
                                          std::span<const std::uint64_t> others) {
    std::vector<std::uint64_t> rest(entries.begin(), entries.end());
    for (std::size_t i = 0; i < std::min(rest.size(), others.size()); ++i) {
        if (((rest[i] ^ others[i]) & disk::offset_mask) == 0) rest[i] = 0;
    }
    return rest;
}

}  // namespace

Result<void> replace_snapshot_table(Qcow2& image, const std::vector<Snapshot>& snapshots) {
    const Bytes raw = serialize_snapshots(snapshots);
    if (raw.size() > snapshot_table_bytes_max || snapshots.size() > snapshots_max) {
        return fail(ErrorKind::no_space, "The snapshot table would become too large", EFBIG);
    }
    HostOffset at(0);
    if (!raw.empty()) {
        // the header still names the old table, so that the new one is kept off it
        const ClusterRun place = TRY(image.allocate_clusters(image.geometry().clusters_for(raw.size())));
        at = image.geometry().offset_of(place.first);
        TRY(image.storage().write(at, raw));
    }
    image.header().snapshot_count = static_cast<std::uint32_t>(snapshots.size());
    image.header().snapshot_table = at;
    image.know_snapshots(snapshots, raw.size());
    return {};
}

Result<Snapshot> find_snapshot(const Qcow2& image, const std::string& name_or_id) {
    std::vector<Snapshot> snapshots = TRY(read_snapshots(image.storage(), image.header()));
    const auto found = find_in(snapshots, name_or_id, &SnapshotInfo::id, &SnapshotInfo::name);
    if (found == snapshots.end()) return not_found(name_or_id);
    return std::move(*found);
}

Result<void> create_snapshot(Qcow2& image, const std::string& name, SnapshotTime time) {
    TRY(check_supported(image));
    if (image.header().snapshot_count >= snapshots_max) {
        return fail(ErrorKind::no_space, "The image cannot have more snapshots", EFBIG);
    }
    std::vector<Snapshot> snapshots = TRY(read_snapshots(image.storage(), image.header()));
    const ClusterRun old_table =
        clusters_of(image.geometry(), image.header().snapshot_table, snapshot_table_bytes(snapshots));
    TRY(image.prepare_changing());
    TRY(image.flush());

    Snapshot taken;
    taken.info.id = next_id(snapshots);
    taken.info.name = name.substr(0, name_bytes_max);
    taken.info.date_seconds = time.seconds;
    taken.info.date_nanoseconds = time.nanoseconds;
    taken.info.icount = 0;  // no instructions were counted; QEMU says it this way, too
    taken.info.disk_bytes = image.size();
    const auto l1 = TRY(image.l1());
    taken.l1_entries = static_cast<std::uint32_t>(l1.size());
    taken.l1_table = TRY(write_snapshot_l1(image, l1));
    snapshots.push_back(std::move(taken));

    if (auto shared = change_references(image, l1, ReferenceChange::add); !shared) {
        if (shared.error().kind == ErrorKind::unsupported) TRY(keep_l1_copy_only(image));
        return shared;
    }
    TRY(update_copied_flags(image, CopiedRule::clear));
    TRY(replace_snapshot_table(image, snapshots));
    TRY(image.flush());
    TRY(image.commit_header());
    if (snapshots.size() > 1) image.release_later(old_table);
    return image.flush();
}

Result<void> apply_snapshot(Qcow2& image, const std::string& name_or_id) {
    TRY(check_supported(image));
    // they would have to know every byte in which the disk now and the disk then differ
    if (image.header().has_bitmaps())
        return fail(ErrorKind::invalid_argument, "Device has active dirty bitmaps");
    const Snapshot snapshot = TRY(find_snapshot(image, name_or_id));
    if (snapshot.info.disk_bytes != image.size() && image.header().version < 3) {
        return fail(ErrorKind::unsupported,
                    "Snapshot has another disk size, which version 2 images cannot change to");
    }
    const Geometry& geometry = image.geometry();
    std::vector<std::uint64_t> entries = TRY(read_snapshot_l1(image.storage(), geometry, snapshot));
    entries.resize(std::max<std::uint64_t>(entries.size(), geometry.l1_entries_for(snapshot.info.disk_bytes)),
                   0);
    TRY(image.prepare_changing());
    TRY(image.flush());

    const auto active = TRY(image.l1());
    const std::vector<std::uint64_t> old_entries(active.begin(), active.end());
    const ClusterRun old_l1 =
        clusters_of(geometry, image.header().l1_table, image.header().l1_entries * table_entry_bytes);
    // what both have loses one reference and gets one
    const std::vector<std::uint64_t> gained = without_common(entries, old_entries);
    const std::vector<std::uint64_t> lost = without_common(old_entries, entries);
    TRY(change_references(image, gained, ReferenceChange::add));
    for (std::uint64_t& entry : entries)
        entry &= ~disk::flag_copied;
    const HostOffset place = TRY(image.write_new_l1(entries));
    image.replace_l1(place, std::move(entries));
    image.header().size = snapshot.info.disk_bytes;
    TRY(update_copied_flags(image, CopiedRule::clear));
    TRY(image.flush());
    TRY(image.commit_header());

    TRY(change_references(image, lost, ReferenceChange::release));
    image.release_later(old_l1);
    return image.flush();
}

Result<void> delete_snapshot(Qcow2& image, const std::string& name_or_id) {
    TRY(check_supported(image));
    std::vector<Snapshot> snapshots = TRY(read_snapshots(image.storage(), image.header()));
    const auto found = find_in(snapshots, name_or_id, &SnapshotInfo::name, &SnapshotInfo::id);
    if (found == snapshots.end()) return not_found(name_or_id);
    const Snapshot gone = *found;
    const Geometry& geometry = image.geometry();
    const std::vector<std::uint64_t> entries = TRY(read_snapshot_l1(image.storage(), geometry, gone));
    const ClusterRun old_table =
        clusters_of(geometry, image.header().snapshot_table, snapshot_table_bytes(snapshots));
    TRY(image.prepare_changing());
    TRY(image.flush());

    snapshots.erase(found);
    TRY(replace_snapshot_table(image, snapshots));
    TRY(image.flush());
    TRY(image.commit_header());

    TRY(change_references(image, entries, ReferenceChange::release));
    image.release_later(clusters_of(geometry, gone.l1_table, gone.l1_entries * table_entry_bytes));
    image.release_later(old_table);
    TRY(image.flush());
    TRY(update_copied_flags(image, CopiedRule::from_refcounts));
    return image.flush();
}

}  // namespace qimg::qcow2
