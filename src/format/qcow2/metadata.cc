// Bringing changed metadata to the file, in the order that survives a crash, and what must happen before the
// first change.
//
// After each barrier the file is a whole image:
//   1. guest data, refcounts that went up          worst case: leaked clusters
//   2. L2 tables                                   guests see the new data, or the old
//   3. L1 entries for new L2 tables                likewise
//   4. refcounts that go down                      worst case: leaked clusters
// Clusters that 4 frees are handed out only afterwards, when nothing on stable storage points to them.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/header_rewrite.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg::qcow2 {

namespace {

// In the file's order, with neighbours as one: a call for each small run costs more than what it gives back.
std::vector<ClusterRun> joined(std::vector<ClusterRun> runs) {
    std::ranges::sort(runs, {}, &ClusterRun::first);
    std::vector<ClusterRun> whole;
    for (const ClusterRun& run : runs) {
        if (!whole.empty() && whole.back().first + whole.back().count == run.first) {
            whole.back().count += run.count;
        } else {
            whole.push_back(run);
        }
    }
    return whole;
}

}  // namespace

Result<void> Qcow2::barrier() {
    if (!options_.ordered) return {};
    if (data_file_) TRY(data_file_->flush());
    return storage_->flush();
}

Result<void> Qcow2::set_l1_entry(std::uint64_t index, std::uint64_t entry) {
    TRY(l1());
    l1_[index] = entry;
    const bool was_clean = dirty_l1_first_ == dirty_l1_end_;
    dirty_l1_first_ = was_clean ? index : std::min(dirty_l1_first_, index);
    dirty_l1_end_ = was_clean ? index + 1 : std::max(dirty_l1_end_, index + 1);
    return {};
}

void Qcow2::replace_l1(HostOffset at, std::vector<std::uint64_t> entries) {
    header_.l1_table = at;
    header_.l1_entries = static_cast<std::uint32_t>(entries.size());
    l1_ = std::move(entries);
    l1_loaded_ = true;
    dirty_l1_first_ = dirty_l1_end_ = 0;
}

Result<HostOffset> Qcow2::write_new_l1(std::span<const std::uint64_t> entries) {
    if (entries.empty()) return HostOffset(0);
    Bytes raw(entries.size() * table_entry_bytes);
    for (std::size_t i = 0; i < entries.size(); ++i)
        store(std::span(raw).subspan(i * table_entry_bytes), be64(entries[i]));
    const ClusterRun place = TRY(allocate_clusters(geometry().clusters_for(raw.size())));
    const HostOffset at = geometry().offset_of(place.first);
    TRY(storage_->write(at, raw));
    return at;
}

Result<void> Qcow2::write_l1() {
    if (dirty_l1_first_ == dirty_l1_end_) return {};
    // whole sectors where the table has them: a torn write can then split no entry
    Bytes raw((dirty_l1_end_ - dirty_l1_first_) * table_entry_bytes);
    for (std::uint64_t i = dirty_l1_first_; i < dirty_l1_end_; ++i) {
        store(std::span(raw).subspan((i - dirty_l1_first_) * table_entry_bytes), be64(l1_[i]));
    }
    TRY(storage_->write(header_.l1_table + dirty_l1_first_ * table_entry_bytes, raw));
    dirty_l1_first_ = dirty_l1_end_ = 0;
    return {};
}

Result<void> Qcow2::commit_header() {
    TRY(barrier());
    TRY(storage_->write(HostOffset(0), serialize_fields(header_)));
    committed_ = header_;
    return barrier();
}

Result<void> Qcow2::rewrite_header() {
    if (!options_.ordered) {  // nobody sees it half written
        const Bytes whole = TRY(serialize_header(header_));
        TRY(storage_->write(HostOffset(0), whole));
        committed_ = header_;
        return {};
    }
    TRY(replace_header(*storage_, committed_, header_, [this] { return barrier(); }));
    committed_ = header_;
    return {};
}

// Refcount blocks before the table that points to them, a moved table before the header.
Result<void> Qcow2::write_refcounts() {
    TRY(refcounts_.write_blocks());
    if (!refcounts_.is_table_dirty()) return {};
    TRY(barrier());
    TRY(refcounts_.write_table());
    if (refcounts_.table_offset() == header_.refcount_table) return {};
    header_.refcount_table = refcounts_.table_offset();
    header_.refcount_table_clusters = static_cast<std::uint32_t>(refcounts_.table_clusters());
    // only this: other changes in memory may not be ready yet
    committed_.refcount_table = header_.refcount_table;
    committed_.refcount_table_clusters = header_.refcount_table_clusters;
    TRY(barrier());
    TRY(storage_->write(HostOffset(0), serialize_fields(committed_)));
    TRY(barrier());
    for (const ClusterRun& old : refcounts_.take_old_tables())
        release_later(old);
    return {};
}

Result<void> Qcow2::write_metadata() {
    TRY(write_refcounts());
    const bool l1_changed = dirty_l1_first_ != dirty_l1_end_;
    if (l2_cache_.is_dirty() || l1_changed) {
        TRY(barrier());
        TRY(l2_cache_.write_dirty());
    }
    if (l1_changed) {
        TRY(barrier());
        TRY(write_l1());
    }
    return release_pending();
}

// Appends those of the run's clusters that have no reference left.
Result<void> Qcow2::forget_freed(const ClusterRun& run, std::vector<ClusterRun>& freed) {
    AlikeClusters alike;
    for (std::uint64_t first = run.first, end = run.first + run.count; first < end; first += alike.count) {
        alike = TRY(refcounts_.get_alike(first, end - first));
        if (alike.refcount != 0) continue;
        for (std::uint64_t cluster = first; cluster < first + alike.count; ++cluster) {
            // the tail of the compressed clusters may be gone with them
            if (cluster == compressed_end_ / cluster_bytes()) compressed_end_ = 0;
            l2_cache_.drop(geometry().offset_of(cluster));
            metadata_map_.forget(cluster);
        }
        freed.push_back({first, alike.count});
    }
    return {};
}

Result<void> Qcow2::release_pending() {
    if (pending_releases_.empty()) return {};
    TRY(barrier());
    std::vector<ClusterRun> freed;
    for (const ClusterRun& run : std::exchange(pending_releases_, {})) {
        // whoever claimed these had no right to: they stay in use
        if (MetadataMap::find_named_by_header(run, header_)) continue;
        TRY(refcounts_.subtract(run));
        TRY(forget_freed(run, freed));
    }
    TRY(write_refcounts());
    for (const ClusterRun& run : joined(std::move(freed))) {
        TRY(storage_->discard(HostRange(geometry().offset_of(run.first), run.count * cluster_bytes())));
    }
    return {};
}

Result<void> Qcow2::flush() {
    if (prepared_) TRY(write_metadata());
    TRY(store_tracked());
    return barrier();
}

Result<ClusterRun> Qcow2::allocate_clusters(std::uint64_t count) {
    const ClusterRun run = TRY(refcounts_.allocate(count));
    TRY(check_not_metadata(run));
    return run;
}

void Qcow2::release_later(ClusterRun run) {
    pending_releases_.push_back(run);
}

Result<void> Qcow2::cut_unused_end() {
    TRY(map_metadata());  // it may still know tables that are gone
    const std::uint64_t used = TRY(refcounts_.end_of_used_clusters());
    const std::uint64_t file_bytes = TRY(storage_->size());
    const std::uint64_t file_clusters = geometry().clusters_for(file_bytes);
    if (used >= file_clusters) return {};
    TRY(check_not_metadata({used, file_clusters - used}));
    file_end_ = geometry().offset_of(used).bytes;
    return storage_->resize(file_end_);
}

ClusterRun Qcow2::clusters_of(HostRange range) const {
    const std::uint64_t first = geometry().cluster_at(range.start);
    return {first, geometry().cluster_at(range.end() - 1) - first + 1};
}

Result<void> Qcow2::map_metadata() {
    metadata_map_.load(geometry(), l1_, refcounts_.table());
    // a repair comes here with a table that breaks rules, too
    const SnapshotTable table = TRY(survey_snapshots(*storage_, header_));
    know_snapshots(table.snapshots, snapshot_table_bytes(table.snapshots));
    TRY(metadata_map_.check_disjoint(header_, storage_->name()));
    return check_counted();
}

// What the header names must not count as free before anything is put there.
Result<void> Qcow2::check_counted() {
    const BitmapDirectory bitmaps = TRY(read_bitmaps(*storage_, header_));
    const std::pair<HostOffset, std::uint64_t> places[] = {
        {HostOffset(0), 1},
        {header_.l1_table, header_.l1_entries * table_entry_bytes},
        {header_.refcount_table, header_.refcount_table_clusters * cluster_bytes()},
        {header_.snapshot_table, header_.snapshot_count},
        {bitmaps.at, bitmaps.bytes},
    };
    for (const auto& [at, bytes] : places) {
        const std::uint64_t first = geometry().cluster_at(at);
        for (std::uint64_t i = 0; i < geometry().clusters_for(bytes); ++i) {
            const std::uint64_t refcount = TRY(refcounts_.get(first + i));
            if (refcount == 0) TRY(check_not_metadata({first + i, 1}));
        }
    }
    return {};
}

void Qcow2::know_snapshots(std::span<const Snapshot> snapshots, std::uint64_t table_bytes) {
    metadata_map_.set_snapshots(geometry(), snapshots, table_bytes);
}

// Wrong refcounts can call a cluster free that holds metadata: writing there would destroy the image.
Result<void> Qcow2::check_not_metadata(ClusterRun run) const {
    const auto kind = metadata_map_.find(run, header_);
    if (!kind) return {};
    return failf(ErrorKind::corrupt,
                 "{}: cluster at {:#x} counts as free, but is part of the {}; nothing was changed there, "
                 "run check",
                 printable(storage_->name()), geometry().offset_of(run.first).bytes, name_of(*kind));
}

static std::unexpected<Error> overlapping(const Storage& file, HostOffset at, MetadataKind kind) {
    return failf(ErrorKind::corrupt,
                 "{}: Preventing invalid write on metadata (overlaps with {}) at {:#x}; run check",
                 printable(file.name()), name_of(kind), at.bytes);
}

bool Qcow2::may_write_in_place(HostRange range) const {
    if (header_.has_data_file()) return true;
    return range.end().bytes <= file_end_ && !metadata_map_.find(clusters_of(range), header_);
}

Result<void> Qcow2::check_in_place(HostRange range) {
    if (header_.has_data_file()) return {};
    if (const auto kind = metadata_map_.find(clusters_of(range), header_))
        return overlapping(*storage_, range.start, *kind);
    return check_inside_file(range);
}

// A file that lost its end, or never got it, may go on behind it as far as its refcounts and the size of its
// disk make believable. Else a few bytes of a table could make it exabytes long.
Result<void> Qcow2::check_inside_file(HostRange range) {
    if (range.end().bytes <= file_end_) return {};
    const std::uint64_t file_bytes = TRY(storage_->size());
    file_end_ = round_up(file_bytes, cluster_bytes());
    if (range.end().bytes <= file_end_) return {};
    const std::uint64_t refcount = TRY(refcounts_.get(geometry().cluster_at(range.start)));
    // all of the disk, and the tables that lead to it
    const std::uint64_t believable_clusters =
        geometry().clusters_for(header_.size) + geometry().l1_entries_for(header_.size);
    if (refcount != 0 && geometry().cluster_at(range.start) <
                             geometry().cluster_at(HostOffset(file_end_)) + believable_clusters)
        return {};
    return failf(ErrorKind::corrupt, "{}: cluster at {:#x} lies past the end of the file; run check",
                 printable(storage_->name()), range.start.bytes);
}

// A L2 table that is to be changed where it is.
Result<void> Qcow2::check_table_in_place(HostOffset at) {
    const HostRange table(at, cluster_bytes());
    if (const auto kind = metadata_map_.find_beside_l2(clusters_of(table), header_))
        return overlapping(*storage_, at, *kind);
    if (l2_cache_.is_changed(at)) return {};  // the file may not have it yet
    return check_inside_file(table);
}

Result<void> Qcow2::prepare_changing() {
    if (prepared_) return {};
    if (header_.refcount_table_clusters == 0) {
        return fail_detailed(ErrorKind::corrupt, "Image does not contain a reference count table",
                             "refcount_table_clusters 0");
    }
    if (header_.is(disk::incompatible_dirty)) TRY(repair_refcounts(*this, options_.on_finding));
    TRY(l1());
    TRY(refcounts_.load());
    TRY(map_metadata());
    TRY(start_tracking());
    prepared_ = true;
    return clear_unknown_autoclear();
}

Result<void> Qcow2::clear_unknown_autoclear() {
    if ((header_.autoclear & ~disk::autoclear_known) == 0) return {};
    header_.autoclear &= disk::autoclear_known;
    return commit_header();
}

Result<void> Qcow2::prepare_writing(GuestRange range) {
    TRY(prepare_changing());
    return track(range);
}

Result<void> Qcow2::reload() {
    header_ = TRY(read_header(*storage_));
    committed_ = header_;
    l2_cache_.drop_all();
    l1_loaded_ = false;
    l1_fault_.reset();
    dirty_l1_first_ = dirty_l1_end_ = 0;
    pending_releases_.clear();
    compressed_end_ = 0;
    prepared_ = false;
    tracking_ = BitmapTracking();
    refcounts_ = Refcounts(*storage_, header_);
    return refcounts_.load();
}

}  // namespace qimg::qcow2
