// Bits of a bitmap: reading, setting, merging, writing.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/bitmap_content.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/checked.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

// Bits [first, end) of a part: bit 0 is the least significant one of the first byte.
void change_bits(std::span<std::byte> part, std::uint64_t first, std::uint64_t end, bool value) {
    const auto change = [&](std::uint64_t index, unsigned mask) {
        const auto bits = static_cast<std::byte>(mask);
        part[index] = value ? part[index] | bits : part[index] & ~bits;
    };
    if (first >= end) return;
    const std::uint64_t first_byte = first / 8;
    const std::uint64_t last_byte = (end - 1) / 8;
    const unsigned head = 0xffu << first % 8 & 0xff;
    const unsigned tail = 0xffu >> (7 - (end - 1) % 8);
    if (first_byte == last_byte) return change(first_byte, head & tail);
    change(first_byte, head);
    std::ranges::fill(part.subspan(first_byte + 1, last_byte - first_byte - 1),
                      value ? std::byte{0xff} : std::byte{0});
    change(last_byte, tail);
}

// Gathers bits that come in order into runs.
class RunVisitor {
  public:
    RunVisitor(unsigned granularity_bits, std::uint64_t disk_bytes,
               const std::function<Result<void>(GuestRange)>& visit)
        : granularity_bits_(granularity_bits), disk_(GuestOffset(0), disk_bytes), visit_(visit) {}

    Result<void> add(std::uint64_t first, std::uint64_t end) {
        if (first == end_) {
            end_ = end;
            return {};
        }
        TRY(finish());
        first_ = first;
        end_ = end;
        return {};
    }

    Result<void> add_word(std::uint64_t first, std::uint64_t word) {
        while (word != 0) {
            const auto skipped = static_cast<unsigned>(std::countr_zero(word));
            const auto length = static_cast<unsigned>(std::countr_one(word >> skipped));
            TRY(add(first + skipped, first + skipped + length));
            if (skipped + length == 64) break;
            word &= ~0ull << (skipped + length);
        }
        return {};
    }

    Result<void> finish() {
        const GuestRange run =
            intersection(disk_, GuestRange::between(GuestOffset(first_ << granularity_bits_),
                                                    GuestOffset(end_ << granularity_bits_)));
        return run.empty() ? Result<void>() : visit_(run);
    }

  private:
    unsigned granularity_bits_;
    GuestRange disk_;
    const std::function<Result<void>(GuestRange)>& visit_;
    std::uint64_t first_ = 0;  // the run so far: [first, end)
    std::uint64_t end_ = 0;
};

bool has_cluster(std::uint64_t entry) {
    return entry > disk::bitmap_all_ones;
}

Result<void> check_table_place(const Bitmap& bitmap, const Geometry& geometry, std::uint64_t file_bytes) {
    const std::uint64_t bytes = std::uint64_t{bitmap.table_entries} * table_entry_bytes;
    if (fits_within(bitmap.table.bytes, bytes, round_up(file_bytes, geometry.cluster_bytes()))) return {};
    return fail_detailed(ErrorKind::corrupt,
                         fmt::format("Could not read bitmap_table table from image for bitmap '{}': past the "
                                     "end of the file",
                                     printable(bitmap.info.name)),
                         fmt::format("{} entries at {:#x}", bitmap.table_entries, bitmap.table.bytes));
}

}  // namespace

BitmapContent BitmapContent::empty(const Geometry& geometry, unsigned granularity_bits,
                                   std::uint64_t disk_bytes) {
    BitmapContent content(geometry, granularity_bits, disk_bytes);
    content.entries_.resize(geometry.clusters_for(bitmap_bytes(disk_bytes, granularity_bits)));
    content.changed_ = true;
    return content;
}

Result<BitmapContent> BitmapContent::load(const Storage& storage, const Header& header,
                                          const Bitmap& bitmap) {
    const std::uint64_t file_bytes = TRY(storage.size());
    TRY(check_table_place(bitmap, header.geometry, file_bytes));
    BitmapContent content(header.geometry, bitmap.granularity_bits(), header.size);
    content.storage_ = &storage;
    content.old_table_ = bitmap.table;
    content.entries_.resize(bitmap.table_entries);
    Bytes raw(content.entries_.size() * table_entry_bytes);
    TRY(storage.read(bitmap.table, raw));
    for (std::size_t i = 0; i < content.entries_.size(); ++i) {
        const std::uint64_t entry = qimg::load<be64>(std::span(raw).subspan(i * table_entry_bytes));
        const bool valid = !has_cluster(entry) ||
                           ((entry & ~disk::offset_mask) == 0 && header.geometry.is_cluster_aligned(entry));
        if (!valid) {
            return fail_detailed(
                ErrorKind::corrupt,
                fmt::format("Could not read bitmap_table table from image for bitmap '{}': Invalid argument",
                            printable(bitmap.info.name)),
                fmt::format("entry {} is {:#x}", i, entry));
        }
        content.entries_[i] = entry;
    }
    content.old_entries_ = content.entries_;
    return content;
}

Result<Bytes> BitmapContent::read_part(std::uint64_t index) const {
    if (const auto changed = parts_.find(index); changed != parts_.end()) return changed->second;
    const std::uint64_t entry = entries_[index];
    Bytes part(geometry_.cluster_bytes(), entry == disk::bitmap_all_ones ? std::byte{0xff} : std::byte{0});
    if (has_cluster(entry)) TRY(storage_->read(HostOffset(entry), part));
    return part;
}

Result<Bytes*> BitmapContent::part_for_change(std::uint64_t index) {
    changed_ = true;
    const auto found = parts_.find(index);
    if (found != parts_.end()) return &found->second;
    Bytes part = TRY(read_part(index));
    return &parts_.emplace(index, std::move(part)).first->second;
}

void BitmapContent::fill_part(std::uint64_t index) {
    changed_ = true;
    parts_.erase(index);
    entries_[index] = disk::bitmap_all_ones;
}

Result<void> BitmapContent::set(GuestRange range) {
    range = intersection(range, GuestRange(GuestOffset(0), disk_bytes_));
    if (range.empty()) return {};
    std::uint64_t first = range.start.bytes >> granularity_bits_;
    const std::uint64_t end = divide_up(range.end().bytes, 1ull << granularity_bits_);
    while (first < end) {
        const std::uint64_t index = first / part_bits();
        const std::uint64_t from = first % part_bits();
        const std::uint64_t to = std::min(part_bits(), from + (end - first));
        if (to - from == part_bits()) {
            fill_part(index);
        } else {
            Bytes* const part = TRY(part_for_change(index));
            change_bits(*part, from, to, true);
        }
        first += to - from;
    }
    return {};
}

void BitmapContent::clear() {
    parts_.clear();
    std::ranges::fill(entries_, 0);
    changed_ = true;
}

Result<void> BitmapContent::merge(const BitmapContent& source) {
    if (&source == this) return {};
    if (source.granularity_bits_ == granularity_bits_ &&
        source.geometry_.cluster_bytes() == geometry_.cluster_bytes()) {
        return merge_parts(source);
    }
    return source.for_each_run([this](GuestRange run) { return set(run); });
}

Result<void> BitmapContent::merge_parts(const BitmapContent& source) {
    for (std::uint64_t i = 0; i < std::min(entries_.size(), source.entries_.size()); ++i) {
        const bool is_loaded = source.parts_.contains(i);
        if (!is_loaded && source.entries_[i] == 0) continue;
        if (!is_loaded && source.entries_[i] == disk::bitmap_all_ones) {
            fill_part(i);
            continue;
        }
        const Bytes from = TRY(source.read_part(i));
        Bytes* const to = TRY(part_for_change(i));
        for (std::size_t at = 0; at < from.size(); ++at)
            (*to)[at] |= from[at];
    }
    return {};
}

Result<void> BitmapContent::resize(std::uint64_t disk_bytes) {
    const std::uint64_t unit = 1ull << granularity_bits_;
    const std::uint64_t kept = std::min(divide_up(disk_bytes_, unit), divide_up(disk_bytes, unit));
    const std::uint64_t last = kept / part_bits();
    // nothing that lies behind the end may come to life when the disk grows
    const bool is_cut = last < entries_.size() && kept % part_bits() != 0;
    if (is_cut && (entries_[last] != 0 || parts_.contains(last))) {
        Bytes* const part = TRY(part_for_change(last));
        change_bits(*part, kept % part_bits(), part_bits(), false);
    }
    const std::uint64_t first_free = divide_up(kept, part_bits());
    parts_.erase(parts_.lower_bound(first_free), parts_.end());
    entries_.resize(std::min<std::size_t>(first_free, entries_.size()));
    entries_.resize(geometry_.clusters_for(bitmap_bytes(disk_bytes, granularity_bits_)), 0);
    disk_bytes_ = disk_bytes;
    changed_ = true;
    return {};
}

Result<void> BitmapContent::for_each_run(const std::function<Result<void>(GuestRange)>& visit) const {
    RunVisitor runs(granularity_bits_, disk_bytes_, visit);
    for (std::uint64_t i = 0; i < entries_.size(); ++i) {
        const std::uint64_t first = i * part_bits();
        const bool is_loaded = parts_.contains(i);
        if (!is_loaded && entries_[i] == 0) continue;
        if (!is_loaded && entries_[i] == disk::bitmap_all_ones) {
            TRY(runs.add(first, first + part_bits()));
            continue;
        }
        const Bytes part = TRY(read_part(i));
        for (std::size_t at = 0; at < part.size(); at += sizeof(le64)) {
            TRY(runs.add_word(first + at * 8, qimg::load<le64>(std::span(part).subspan(at))));
        }
    }
    return runs.finish();
}

Result<void> BitmapContent::renew() {
    changed_ = true;
    for (std::uint64_t i = 0; i < entries_.size(); ++i) {
        if (has_cluster(entries_[i])) TRY(part_for_change(i));
    }
    return {};
}

Result<void> BitmapContent::write(Qcow2& image, Bitmap& bitmap) {
    for (const auto& [index, part] : parts_) {
        entries_[index] = 0;
        if (is_zero(part)) continue;
        const ClusterRun place = TRY(image.allocate_clusters(1));
        const HostOffset at = geometry_.offset_of(place.first);
        TRY(image.storage().write(at, part));
        entries_[index] = at.bytes;
    }
    parts_.clear();
    storage_ = &image.storage();
    Bytes raw(entries_.size() * table_entry_bytes);
    for (std::size_t i = 0; i < entries_.size(); ++i)
        store(std::span(raw).subspan(i * table_entry_bytes), be64(entries_[i]));
    const ClusterRun place = TRY(image.allocate_clusters(geometry_.clusters_for(raw.size())));
    bitmap.table = geometry_.offset_of(place.first);
    bitmap.table_entries = static_cast<std::uint32_t>(entries_.size());
    return image.storage().write(bitmap.table, raw);
}

std::vector<ClusterRun> BitmapContent::replaced_clusters() const {
    std::vector<ClusterRun> runs;
    if (old_table_.bytes == 0) return runs;
    const std::uint64_t table_bytes = old_entries_.size() * table_entry_bytes;
    runs.push_back({geometry_.cluster_at(old_table_), geometry_.clusters_for(table_bytes)});
    for (std::size_t i = 0; i < old_entries_.size(); ++i) {
        const bool is_kept = i < entries_.size() && entries_[i] == old_entries_[i];
        if (has_cluster(old_entries_[i]) && !is_kept) {
            runs.push_back({geometry_.cluster_at(HostOffset(old_entries_[i])), 1});
        }
    }
    return runs;
}

}  // namespace qimg::qcow2
