// Growing: a longer L1 table first, the header last. Shrinking: the header first, then the space.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/resize.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/reference_walk.hpp"
#include "format/qcow2/trim.hpp"

namespace qimg::qcow2 {

namespace {

Result<void> check_can_resize(const Qcow2& image) {
    const Header& header = image.header();
    if (header.version < 3 && header.snapshot_count != 0) {
        return fail(ErrorKind::unsupported, "Can't resize a v2 image which has snapshots");
    }
    return {};
}

ClusterRun l1_clusters(const Qcow2& image) {
    const std::uint64_t bytes = image.header().l1_entries * table_entry_bytes;
    return {image.geometry().cluster_at(image.header().l1_table), image.geometry().clusters_for(bytes)};
}

// A longer table, known only in memory so far: in its place while its clusters have room, which is then cleared of
// what may be there, else in a new one. Returns the clusters that it left.
Result<ClusterRun> lengthen_l1(Qcow2& image, std::uint64_t entries) {
    const auto old = TRY(image.l1());
    const ClusterRun old_clusters = l1_clusters(image);
    std::vector<std::uint64_t> table(old.begin(), old.end());
    table.resize(entries, 0);
    if (image.geometry().clusters_for(entries * table_entry_bytes) == old_clusters.count) {
        const HostOffset at = image.header().l1_table;
        const Bytes added((entries - old.size()) * table_entry_bytes);
        TRY(image.storage().write(at + old.size() * table_entry_bytes, added));
        image.replace_l1(at, std::move(table));
        return ClusterRun{};
    }
    const HostOffset at = TRY(image.write_new_l1(table));
    image.replace_l1(at, std::move(table));
    return old_clusters;
}

// The first entry from `first` on that says something, else how many the table has.
std::uint64_t first_filled(const Qcow2& image, const L2Table& table, std::uint64_t first) {
    const std::uint64_t entries = image.geometry().l2_entries();
    while (first < entries && table.get(first) == L2Entry{})
        ++first;
    return first;
}

// The entries of one L2 table from `first` on, and what they refer to.
Result<void> cut_table(Qcow2& image, std::uint64_t l1_entry, std::uint64_t l1_index, std::uint64_t first) {
    const auto table = TRY(image.l2_cache().read(HostOffset(l1_entry & disk::offset_mask)));
    first = first_filled(image, *table, first);
    if (first == image.geometry().l2_entries()) return {};
    const GuestOffset start(l1_index * image.geometry().l2_reach_bytes() + first * image.cluster_bytes());
    const WritableTable place = TRY(image.writable_table(start));
    for (std::uint64_t i = first; i < image.geometry().l2_entries(); ++i) {
        const L2Entry old = place.table->get(i);
        if (old == L2Entry{}) continue;
        image.l2_cache().set_entry(place.at, place.table, i, L2Entry{});
        image.release_entry(old);
    }
    return {};
}

}  // namespace

Result<void> cut_tables(Qcow2& image, std::uint64_t bytes) {
    const Geometry& geometry = image.geometry();
    const std::uint64_t kept_clusters = geometry.clusters_for(bytes);
    std::uint64_t index = kept_clusters / geometry.l2_entries();
    const auto l1 = TRY(image.l1());
    const std::uint64_t kept_in_last = kept_clusters % geometry.l2_entries();
    if (kept_in_last != 0) {
        if ((l1[index] & disk::offset_mask) != 0) TRY(cut_table(image, l1[index], index, kept_in_last));
        ++index;
    }
    TRY(change_references(image, l1.subspan(std::min<std::size_t>(index, l1.size())),
                          ReferenceChange::release));
    for (; index < l1.size(); ++index) {
        if (l1[index] != 0) TRY(image.set_l1_entry(index, 0));
    }
    return {};
}

Result<void> check_can_grow(const Qcow2& image, std::uint64_t bytes) {
    TRY(check_can_resize(image));
    const std::uint64_t entries = image.geometry().l1_entries_for(bytes);
    if (bytes <= 1ull << 62 && entries * table_entry_bytes <= l1_table_bytes_max) return {};
    return fail_detailed(ErrorKind::no_space, "Failed to grow the L1 table: File too large",
                         "try a larger cluster size");
}

Result<void> grow(Qcow2& image, std::uint64_t bytes, const std::function<Result<void>()>& fill) {
    TRY(check_can_grow(image, bytes));
    const std::uint64_t entries = image.geometry().l1_entries_for(bytes);
    TRY(image.prepare_changing());
    BitmapEditor bitmaps = TRY(BitmapEditor::open(image));
    TRY(bitmaps.resize(bytes));
    // whoever made the disk shorter may have been stopped before it came to that
    TRY(cut_tables(image, image.size()));
    ClusterRun old_l1;
    if (entries > image.header().l1_entries) old_l1 = TRY(lengthen_l1(image, entries));
    image.header().size = bytes;
    TRY(fill());
    TRY(bitmaps.write());
    TRY(image.flush());
    if (image.header().has_data_file()) {
        const std::uint64_t held = TRY(image.data_storage().size());
        if (held < bytes) TRY(image.data_storage().resize(bytes));
    }
    TRY(bitmaps.publish());
    if (old_l1.count != 0) image.release_later(old_l1);
    return image.flush();
}

Result<void> shrink(Qcow2& image, std::uint64_t bytes, const std::function<Result<void>()>& clear) {
    TRY(check_can_resize(image));
    TRY(image.prepare_changing());
    BitmapEditor bitmaps = TRY(BitmapEditor::open(image));
    TRY(bitmaps.resize(bytes));
    TRY(bitmaps.write());
    TRY(image.flush());
    image.header().size = bytes;
    TRY(bitmaps.publish());
    image.header().size = round_up(bytes, image.cluster_bytes());
    const Result<void> cleared = clear();
    image.header().size = bytes;
    TRY(cleared);
    TRY(cut_tables(image, bytes));
    TRY(trim(image));
    if (image.header().data_file_raw()) return image.data_storage().resize(bytes);
    return {};
}

}  // namespace qimg::qcow2
