// The L2 table cache: least recently used tables leave first, changed ones stay until written.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/l2_cache.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/try.hpp"

namespace qimg::qcow2 {

std::uint64_t L2Table::count_continuing(const Geometry& geometry, std::uint64_t index,
                                        std::uint64_t end) const {
    const L2Entry entry = get(index);
    if (entry.is_compressed() || geometry.extended_l2()) return 0;
    const std::uint64_t step = entry.has_host(geometry) ? geometry.cluster_bytes() : 0;
    // no further than offsets go: the next ones would be told from flags no more
    const std::uint64_t clusters_left = (disk::offset_mask - entry.host().bytes) / geometry.cluster_bytes();
    const std::uint64_t count = std::min(end - index - 1, clusters_left);
    const auto next = std::span(bytes_).subspan((index + 1) * table_entry_bytes);
    std::uint64_t expected = entry.word + step;
    std::uint64_t same = 0;
    for (; same < count && load<be64>(next.subspan(same * table_entry_bytes)) == expected; ++same)
        expected += step;
    return same;
}

// In the byte order of the file, which leaves nothing to do but two operations an entry.
bool L2Table::set_copied(std::uint64_t first, std::uint64_t count, std::uint64_t flag) {
    const auto raw = [](std::uint64_t word) { return std::bit_cast<std::uint64_t>(be64(word)); };
    const std::uint64_t kept = raw(~disk::flag_copied);
    const std::uint64_t added = raw(flag);
    const auto update = [&](std::byte* const entries, std::uint64_t step) {
        std::uint64_t different = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            std::uint64_t old = 0;
            std::memcpy(&old, entries + i * step, sizeof(old));
            const std::uint64_t now = (old & kept) | added;
            different |= old ^ now;
            std::memcpy(entries + i * step, &now, sizeof(now));
        }
        return different != 0;
    };
    std::byte* const entries = std::span(bytes_).subspan(first * entry_bytes_, count * entry_bytes_).data();
    // a step that is known lets the compiler take several at once
    return entry_bytes_ == table_entry_bytes ? update(entries, table_entry_bytes)
                                             : update(entries, entry_bytes_);
}

Result<std::shared_ptr<L2Table>> L2Cache::lookup(HostOffset at) const {
    {
        const std::lock_guard lock(mutex_);
        const auto found = tables_.find(at.bytes);
        if (found != tables_.end()) {
            recent_.splice(recent_.begin(), recent_, found->second.recency);
            return found->second.table;
        }
    }
    if (const auto changed = dirty_.find(at.bytes); changed != dirty_.end()) return changed->second.table;
    auto table = std::make_shared<L2Table>(geometry_);
    TRY(storage_.read(at, table->bytes()));
    remember(at, table);
    return table;
}

void L2Cache::remember(HostOffset at, std::shared_ptr<L2Table> table) const {
    const std::lock_guard lock(mutex_);
    if (tables_.contains(at.bytes)) return;  // another thread was faster
    recent_.push_front(at.bytes);
    tables_[at.bytes] = Slot{std::move(table), recent_.begin()};
    const std::size_t tables_max = std::max<std::size_t>(clean_bytes_max / geometry_.cluster_bytes(), 2);
    if (tables_.size() <= tables_max) return;
    tables_.erase(recent_.back());
    recent_.pop_back();
}

Result<std::shared_ptr<const L2Table>> L2Cache::read(HostOffset at) const {
    std::shared_ptr<L2Table> table = TRY(lookup(at));
    return table;
}

Result<std::shared_ptr<L2Table>> L2Cache::read_for_writing(HostOffset at) {
    return lookup(at);
}

void L2Cache::mark_changed(HostOffset at, const std::shared_ptr<L2Table>& table, std::uint64_t first,
                           std::uint64_t count) {
    const std::uint64_t from = first * table->entry_bytes();
    const std::uint64_t to = from + count * table->entry_bytes();
    auto [place, is_new] = dirty_.try_emplace(at.bytes, DirtyTable{table, from, to});
    place->second.first = std::min(place->second.first, from);
    place->second.end = std::max(place->second.end, to);
    if (!is_new) return;
    // while the caller held the table, it may have left the cache and come back as another copy
    const std::lock_guard lock(mutex_);
    const auto found = tables_.find(at.bytes);
    if (found != tables_.end()) found->second.table = table;
}

void L2Cache::insert_new(HostOffset at, const std::shared_ptr<L2Table>& table) {
    drop(at);
    mark_changed(at, table, 0, geometry_.l2_entries());
    remember(at, table);
}

void L2Cache::set_entry(HostOffset at, const std::shared_ptr<L2Table>& table, std::uint64_t index,
                        const L2Entry& entry) {
    table->set(index, entry);
    mark_changed(at, table, index, 1);
}

void L2Cache::drop(HostOffset at) {
    dirty_.erase(at.bytes);
    const std::lock_guard lock(mutex_);
    const auto found = tables_.find(at.bytes);
    if (found == tables_.end()) return;
    recent_.erase(found->second.recency);
    tables_.erase(found);
}

void L2Cache::drop_all() {
    dirty_.clear();
    const std::lock_guard lock(mutex_);
    tables_.clear();
    recent_.clear();
}

Result<void> L2Cache::write_dirty() {
    if (dirty_.empty()) return {};
    // of neighbours that are changed to where they touch; a table alone is written from where it is
    std::span<const std::byte> alone;
    Bytes joined;
    HostOffset at;
    const auto bytes_waiting = [&] { return joined.empty() ? alone.size() : joined.size(); };
    const auto write_waiting = [&]() -> Result<void> {
        TRY(storage_.write(at, joined.empty() ? alone : joined));
        joined.clear();
        return {};
    };
    for (const auto& [offset, changed] : dirty_) {
        const HostOffset from(offset + changed.first);
        const auto bytes =
            std::span(changed.table->bytes()).subspan(changed.first, changed.end - changed.first);
        const bool joins = from == at + bytes_waiting() && bytes_waiting() < write_bytes_max;
        if (joins) {
            if (joined.empty()) joined.assign(alone.begin(), alone.end());
            joined.insert(joined.end(), bytes.begin(), bytes.end());
            continue;
        }
        if (bytes_waiting() != 0) TRY(write_waiting());
        alone = bytes;
        at = from;
    }
    TRY(write_waiting());
    dirty_.clear();
    return {};
}

}  // namespace qimg::qcow2
