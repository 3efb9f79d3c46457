// Everything new is written where nothing is yet; the header's write is the only change of what was there.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/transaction.hpp"

#include <algorithm>
#include <memory>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/resize.hpp"

namespace qimg::qcow2 {

namespace {

constexpr std::uint64_t buffer_bytes_max = 2 * MiB;

// Clusters of the disk that change in the same way.
struct GuestClusters {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
    bool zeroes = false;
};

// Whole clusters for the changes: those that a change covers only in part are data, each of them once.
std::vector<GuestClusters> clusters_of(const NewDisk& disk, std::uint64_t cluster_bytes) {
    std::vector<GuestClusters> all;
    std::uint64_t next = 0;  // behind what is there already
    const auto add = [&](std::uint64_t first, std::uint64_t end, bool zeroes) {
        first = std::max(first, next);
        if (first >= end) return;
        all.push_back({first, end, zeroes});
        next = end;
    };
    for (const ChangedPart& change : disk.changes) {
        const std::uint64_t start = change.range.start.bytes;
        const std::uint64_t end = change.range.end().bytes;
        if (!change.zeroes) {
            add(start / cluster_bytes, divide_up(end, cluster_bytes), false);
            continue;
        }
        const std::uint64_t first_whole = divide_up(start, cluster_bytes);
        // nothing is behind the end of the disk
        const std::uint64_t whole_end =
            end == disk.bytes ? divide_up(end, cluster_bytes) : end / cluster_bytes;
        add(start / cluster_bytes, std::min(first_whole, divide_up(end, cluster_bytes)), false);
        add(first_whole, whole_end, true);
        add(whole_end, divide_up(end, cluster_bytes), false);
    }
    return all;
}

class Transaction {
  public:
    Transaction(Qcow2& image, const NewDisk& disk)
        : image_(image), disk_(disk), geometry_(image.geometry()) {}

    Result<void> run();

  private:
    struct Table {
        std::uint64_t index = 0;  // in the L1 table
        std::unique_ptr<L2Table> entries;
        bool is_changed = false;
    };

    Result<void> begin();
    std::vector<GuestRange> changed_ranges() const;
    Result<void> open_table(std::uint64_t index);
    Result<void> close_table();
    void set(std::uint64_t cluster, const L2Entry& entry);
    bool reads_as_zeroes(const L2Entry& entry) const;
    bool can_say_zeroes() const { return image_.header().version >= 3 || !image_.header().backing_file; }
    Result<void> set_zeroes(std::uint64_t first, std::uint64_t end);
    Result<void> write_data(std::uint64_t first, std::uint64_t end);
    Result<void> change(GuestClusters part);
    Result<void> write_run(std::uint64_t first, std::span<const std::byte> content);
    Result<void> write_l1();
    Result<void> release_replaced();

    Qcow2& image_;
    const NewDisk& disk_;
    const Geometry geometry_;
    std::vector<std::uint64_t> l1_;
    ClusterRun old_l1_;
    Table table_;
    // what only the old header leads to
    std::vector<L2Entry> old_entries_;
    std::vector<std::uint64_t> old_tables_;
};

Result<void> Transaction::begin() {
    TRY(image_.prepare_changing());
    // whoever made the disk shorter may have been stopped before it came to that
    if (disk_.bytes > image_.size()) TRY(cut_tables(image_, image_.size()));
    TRY(image_.flush());
    const auto active = TRY(image_.l1());
    l1_.assign(active.begin(), active.end());
    l1_.resize(std::max<std::uint64_t>(l1_.size(), geometry_.l1_entries_for(disk_.bytes)), 0);
    old_l1_ = {geometry_.cluster_at(image_.header().l1_table),
               geometry_.clusters_for(image_.header().l1_entries * table_entry_bytes)};
    return {};
}

// A copy of the table, or an empty one, to be changed in memory.
Result<void> Transaction::open_table(std::uint64_t index) {
    if (table_.entries && table_.index == index) return {};
    TRY(close_table());
    table_.entries = std::make_unique<L2Table>(geometry_);
    table_.index = index;
    const HostOffset at(l1_[index] & disk::offset_mask);
    if (at.bytes == 0) return {};
    if (!geometry_.is_cluster_aligned(at.bytes)) {
        return failf(ErrorKind::corrupt, "{}: L2 table offset {:#x} unaligned (L1 index: {:#x}); run check",
                     printable(image_.storage().name()), at.bytes, index);
    }
    const auto old = TRY(image_.l2_cache().read(at));
    std::ranges::copy(old->bytes(), table_.entries->bytes().begin());
    return {};
}

Result<void> Transaction::close_table() {
    const std::unique_ptr<L2Table> entries = std::move(table_.entries);
    if (!entries || !std::exchange(table_.is_changed, false)) return {};
    const ClusterRun place = TRY(image_.allocate_clusters(1));
    const HostOffset at = geometry_.offset_of(place.first);
    TRY(image_.storage().write(at, entries->bytes()));
    const HostOffset old(l1_[table_.index] & disk::offset_mask);
    if (old.bytes != 0) old_tables_.push_back(geometry_.cluster_at(old));
    l1_[table_.index] = at.bytes | disk::flag_copied;
    return {};
}

void Transaction::set(std::uint64_t cluster, const L2Entry& entry) {
    const std::uint64_t index = cluster % geometry_.l2_entries();
    const L2Entry old = table_.entries->get(index);
    table_.entries->set(index, entry);
    table_.is_changed = true;
    if (old.is_compressed() || old.has_host(geometry_)) old_entries_.push_back(old);
}

// By the word of this image alone, where there is none below that goes on.
bool Transaction::reads_as_zeroes(const L2Entry& entry) const {
    const ClusterKind kind = entry.kind(geometry_);
    if (geometry_.extended_l2()) {
        const bool is_all_zero = entry.bitmap == all_subclusters_zero;
        return kind != ClusterKind::compressed &&
               (is_all_zero || (!image_.header().backing_file && entry.bitmap == 0));
    }
    return kind == ClusterKind::zero_plain || kind == ClusterKind::zero_allocated ||
           (kind == ClusterKind::unallocated && !image_.header().backing_file);
}

// Of the open table.
Result<void> Transaction::set_zeroes(std::uint64_t first, std::uint64_t end) {
    L2Entry zero;
    if (geometry_.extended_l2()) {
        zero.bitmap = all_subclusters_zero;
    } else if (image_.header().version >= 3) {
        zero.word = disk::flag_zero;
    }
    for (std::uint64_t cluster = first; cluster < end; ++cluster) {
        if (!reads_as_zeroes(table_.entries->get(cluster % geometry_.l2_entries()))) set(cluster, zero);
    }
    return {};
}

// Of the open table; `content` is that of whole clusters.
Result<void> Transaction::write_run(std::uint64_t first, std::span<const std::byte> content) {
    const std::uint64_t unit = geometry_.cluster_bytes();
    const ClusterRun place = TRY(image_.allocate_clusters(content.size() / unit));
    TRY(image_.storage().write(geometry_.offset_of(place.first), content));
    for (std::uint64_t i = 0; i < place.count; ++i) {
        L2Entry entry{geometry_.offset_of(place.first + i).bytes | disk::flag_copied, 0};
        if (geometry_.extended_l2()) entry.bitmap = all_subclusters_allocated;
        set(first + i, entry);
    }
    return {};
}

// Of the open table. Zeroes among the data get no space.
Result<void> Transaction::write_data(std::uint64_t first, std::uint64_t end) {
    const std::uint64_t unit = geometry_.cluster_bytes();
    Bytes buffer;
    while (first < end) {
        const std::uint64_t count =
            std::min(end - first, std::max<std::uint64_t>(1, buffer_bytes_max / unit));
        buffer.assign(count * unit, std::byte{0});
        const std::uint64_t inside = std::min(count * unit, disk_.bytes - first * unit);
        TRY(disk_.read(GuestOffset(first * unit), std::span(buffer).first(inside)));
        const auto is_zero_at = [&](std::uint64_t i) {
            return can_say_zeroes() && is_zero(std::span(buffer).subspan(i * unit, unit));
        };
        for (std::uint64_t i = 0; i < count;) {
            const bool zero = is_zero_at(i);
            std::uint64_t next = i + 1;
            while (next < count && is_zero_at(next) == zero)
                ++next;
            if (zero) {
                TRY(set_zeroes(first + i, first + next));
            } else {
                TRY(write_run(first + i, std::span(buffer).subspan(i * unit, (next - i) * unit)));
            }
            i = next;
        }
        first += count;
    }
    return {};
}

Result<void> Transaction::change(GuestClusters part) {
    const bool zeroes = part.zeroes && can_say_zeroes();
    while (part.first < part.end) {
        const std::uint64_t index = part.first / geometry_.l2_entries();
        const std::uint64_t end = std::min(part.end, (index + 1) * geometry_.l2_entries());
        // a table that is not there says zeroes already
        const bool is_open = table_.entries && table_.index == index;
        const bool is_there = is_open || (l1_[index] & disk::offset_mask) != 0;
        if (!zeroes || is_there || image_.header().backing_file) {
            TRY(open_table(index));
            TRY(zeroes ? set_zeroes(part.first, end) : write_data(part.first, end));
        }
        part.first = end;
    }
    return {};
}

Result<void> Transaction::write_l1() {
    if (l1_.empty()) return {};
    const HostOffset at = TRY(image_.write_new_l1(l1_));
    image_.replace_l1(at, std::move(l1_));
    return {};
}

Result<void> Transaction::release_replaced() {
    for (const L2Entry& entry : old_entries_)
        image_.release_entry(entry);
    for (const std::uint64_t table : old_tables_)
        image_.release_later({table, 1});
    if (old_l1_.count != 0) image_.release_later(old_l1_);
    TRY(image_.flush());
    return image_.reload();
}

std::vector<GuestRange> Transaction::changed_ranges() const {
    std::vector<GuestRange> ranges;
    for (const ChangedPart& change : disk_.changes)
        ranges.push_back(change.range);
    return ranges;
}

Result<void> Transaction::run() {
    TRY(check_can_replace(image_, disk_.bytes));
    TRY(begin());
    BitmapEditor bitmaps = TRY(BitmapEditor::open(image_));
    if (disk_.bytes != image_.size()) TRY(bitmaps.resize(disk_.bytes));
    TRY(bitmaps.record(changed_ranges()));
    for (const GuestClusters& part : clusters_of(disk_, geometry_.cluster_bytes()))
        TRY(change(part));
    TRY(close_table());
    TRY(write_l1());
    TRY(bitmaps.write());
    image_.header().size = disk_.bytes;
    TRY(image_.flush());
    TRY(bitmaps.publish());
    return release_replaced();
}

}  // namespace

Result<void> check_can_replace(const Qcow2& image, std::uint64_t bytes) {
    const Header& header = image.header();
    if (bytes < header.size) return fail(ErrorKind::invalid_argument, "The disk would become shorter");
    if (header.has_data_file())
        return fail(ErrorKind::unsupported, "An external data file cannot be replaced in one step");
    return bytes == header.size ? Result<void>() : check_can_grow(image, bytes);
}

Result<void> replace_disk(Qcow2& image, const NewDisk& disk) {
    return Transaction(image, disk).run();
}

}  // namespace qimg::qcow2
