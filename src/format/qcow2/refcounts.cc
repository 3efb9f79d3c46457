// Refcount table and blocks in memory: lookup, change, search for free clusters, growth.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcounts.hpp"

#include <algorithm>
#include <cerrno>

#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/refcount_entries.hpp"

namespace qimg::qcow2 {

Refcounts::Refcounts(Storage& storage, const Header& header)
    : storage_(&storage),
      geometry_(header.geometry),
      table_at_(header.refcount_table),
      table_clusters_(header.refcount_table_clusters) {}

Result<void> Refcounts::load() {
    Bytes raw(table_clusters_ * geometry_.cluster_bytes());
    TRY(storage_->read(table_at_, raw));
    table_.resize(raw.size() / table_entry_bytes);
    for (std::size_t i = 0; i < table_.size(); ++i) {
        table_[i] =
            qimg::load<be64>(std::span(raw).subspan(i * table_entry_bytes)) & disk::refcount_offset_mask;
    }
    blocks_.clear();
    blocks_.resize(table_.size());
    dirty_blocks_.clear();
    return {};
}

void Refcounts::start_empty(HostOffset at, std::uint64_t clusters) {
    table_at_ = at;
    table_clusters_ = clusters;
    table_.assign(clusters * geometry_.cluster_bytes() / table_entry_bytes, 0);
    blocks_.clear();
    blocks_.resize(table_.size());
    dirty_table_first_ = 0;
    dirty_table_end_ = table_.size();
    // whoever lays out the file claims what is in front; the search must not take it for a block before that
    search_start_ = geometry_.cluster_at(at) + clusters;
}

Result<Refcounts::Block*> Refcounts::read_block(std::uint64_t index) {
    if (blocks_[index]) return blocks_[index].get();
    const HostOffset at(table_[index]);
    if (!geometry_.is_cluster_aligned(at.bytes)) {
        return failf(ErrorKind::corrupt, "{}: refcount block offset {:#x} unaligned (reftable index: {:#x})",
                     printable(storage_->name()), at.bytes, index);
    }
    // a block is written before the table that points to it
    const std::uint64_t file_bytes = TRY(storage_->size());
    if (at.bytes >= file_bytes) {
        return failf(ErrorKind::corrupt, "{}: refcount block {} at {:#x} is outside image; run check",
                     printable(storage_->name()), index, at.bytes);
    }
    auto fresh = std::make_unique<Block>();
    fresh->index = index;
    fresh->bytes.resize(geometry_.cluster_bytes());
    TRY(storage_->read(at, fresh->bytes));
    blocks_[index] = std::move(fresh);
    return blocks_[index].get();
}

Result<std::uint64_t> Refcounts::get(std::uint64_t cluster) {
    const std::uint64_t index = geometry_.refcount_block_of(cluster);
    if (index >= table_.size() || table_[index] == 0) return 0;
    const Block* block = TRY(read_block(index));
    return get_refcount(block->bytes, geometry_.refcount_order(), geometry_.refcount_entry_of(cluster));
}

Result<AlikeClusters> Refcounts::get_alike(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t index = geometry_.refcount_block_of(first);
    const std::uint64_t entry = geometry_.refcount_entry_of(first);
    const std::uint64_t end = std::min(geometry_.refcount_block_entries(), entry + count);
    if (index >= table_.size() || table_[index] == 0) return AlikeClusters{end - entry, 0};
    const Block* block = TRY(read_block(index));
    const std::uint64_t refcount = get_refcount(block->bytes, geometry_.refcount_order(), entry);
    const std::uint64_t other =
        find_other_refcount(block->bytes, geometry_.refcount_order(), {entry, end}, refcount);
    return AlikeClusters{other - entry, refcount};
}

void Refcounts::mark_dirty(Block& block) {
    if (!block.dirty) dirty_blocks_.push_back(block.index);
    block.dirty = true;
}

void Refcounts::set_table_entry(std::uint64_t index, HostOffset at) {
    table_[index] = at.bytes;
    if (!is_table_dirty()) {
        dirty_table_first_ = index;
        dirty_table_end_ = index + 1;
    }
    dirty_table_first_ = std::min(dirty_table_first_, index);
    dirty_table_end_ = std::max(dirty_table_end_, index + 1);
}

// A block's own cluster may be counted in the block itself: then nothing else is needed. Otherwise the block
// that counts it is made first; that one chooses the same free cluster, counts itself, and the search here
// goes on behind it. So each call makes at most one block more than it was asked for.
Result<void> Refcounts::ensure_block(std::uint64_t index) {
    if (index >= table_.size()) TRY(grow_table(index + 1));
    while (table_[index] == 0) {
        const ClusterRun free = TRY(find_free(1, true));
        const std::uint64_t counted_in = geometry_.refcount_block_of(free.first);
        if (counted_in != index && (counted_in >= table_.size() || table_[counted_in] == 0)) {
            TRY(ensure_block(counted_in));
            continue;
        }
        auto fresh = std::make_unique<Block>();
        fresh->index = index;
        fresh->bytes.resize(geometry_.cluster_bytes());
        blocks_[index] = std::move(fresh);
        set_table_entry(index, geometry_.offset_of(free.first));
        Block* counting = TRY(read_block(counted_in));
        set_refcount(counting->bytes, geometry_.refcount_order(), geometry_.refcount_entry_of(free.first), 1);
        mark_dirty(*counting);
        search_start_ = std::max(search_start_, free.first + 1);
        mark_dirty(*blocks_[index]);
    }
    return {};
}

Result<void> Refcounts::ensure_blocks_for(ClusterRun run) {
    const std::uint64_t entries = geometry_.refcount_block_entries();
    for (std::uint64_t i = run.first / entries; i <= (run.first + run.count - 1) / entries; ++i) {
        if (i >= table_.size() || table_[i] == 0) TRY(ensure_block(i));
    }
    return {};
}

// The table is larger at once, in memory; then it gets its new place by the ordinary search.
Result<void> Refcounts::grow_table(std::uint64_t entries) {
    const std::uint64_t per_cluster = geometry_.cluster_bytes() / table_entry_bytes;
    std::uint64_t wanted = std::max<std::uint64_t>(entries, table_.size() + table_.size() / 2);
    wanted = std::min(wanted, refcount_table_bytes_max / table_entry_bytes);
    const std::uint64_t clusters = divide_up(wanted, per_cluster);
    if (entries > wanted || clusters * geometry_.cluster_bytes() > refcount_table_bytes_max) {
        return fail(ErrorKind::no_space,
                    fmt::format("{}: the refcount table would exceed {} MiB", printable(storage_->name()),
                                refcount_table_bytes_max / MiB),
                    EFBIG);
    }
    if (table_clusters_ != 0) old_tables_.push_back({geometry_.cluster_at(table_at_), table_clusters_});
    table_.resize(clusters * per_cluster, 0);
    blocks_.resize(table_.size());
    table_clusters_ = clusters;
    dirty_table_first_ = 0;
    dirty_table_end_ = table_.size();
    const ClusterRun place = TRY(allocate(clusters));
    table_at_ = geometry_.offset_of(place.first);
    return {};
}

// From search_start_: a run of `count` free clusters, or (not `whole`) the first free clusters found, up to
// `count`. Clusters that no block counts are free, too.
Result<ClusterRun> Refcounts::find_free(std::uint64_t count, bool whole) {
    const std::uint64_t entries = geometry_.refcount_block_entries();
    ClusterRun run{search_start_, 0};
    for (std::uint64_t cluster = search_start_; run.count < count;) {
        const std::uint64_t index = cluster / entries;
        const std::uint64_t block_end = (index + 1) * entries;
        if (index >= table_.size() || table_[index] == 0) {
            run.count += std::min(count - run.count, block_end - cluster);
            cluster = block_end;
            continue;
        }
        const Block* block = TRY(read_block(index));
        const std::uint64_t base = index * entries;
        while (cluster < block_end && run.count < count) {
            const std::uint64_t end = std::min(block_end, cluster + (count - run.count));
            const std::uint64_t used = base + find_used_refcount(block->bytes, geometry_.refcount_order(),
                                                                 {cluster - base, end - base});
            run.count += used - cluster;
            cluster = used;
            if (used == end) continue;
            if (run.count != 0 && !whole) return run;
            cluster = base + find_zero_refcount(block->bytes, geometry_.refcount_order(),
                                                {used - base, block_end - base});
            // clusters before the first free one need no second look next time
            if (run.count == 0 && run.first == search_start_) search_start_ = cluster;
            run = {cluster, 0};
        }
    }
    return run;
}

Result<ClusterRun> Refcounts::allocate(std::uint64_t count) {
    return find_and_claim(count, true);
}
Result<ClusterRun> Refcounts::allocate_some(std::uint64_t count) {
    return find_and_claim(count, false);
}

// Blocks that the run needs go behind it: then it stays in one piece.
Result<ClusterRun> Refcounts::find_and_claim(std::uint64_t count, bool whole) {
    const ClusterRun run = TRY(find_free(count, whole));
    const std::uint64_t first_maybe_free = search_start_;
    search_start_ = run.first + run.count;
    TRY(ensure_blocks_for(run));
    search_start_ = first_maybe_free;
    TRY(claim(run));
    return run;
}

Result<void> Refcounts::claim(ClusterRun run) {
    if (geometry_.offset_of(run.first + run.count).bytes > host_offset_end) {
        return failf(ErrorKind::no_space, "{}: the image file would grow past 64 PiB",
                     printable(storage_->name()));
    }
    if (run.count != 0) TRY(ensure_blocks_for(run));
    TRY(change(run, true));
    if (run.first == search_start_) search_start_ += run.count;
    return {};
}

Result<void> Refcounts::add(ClusterRun run) {
    if (run.count != 0) TRY(ensure_blocks_for(run));
    return change(run, true);
}

Result<void> Refcounts::subtract(ClusterRun run) {
    return change(run, false);
}

std::unexpected<Error> Refcounts::cannot_change(std::uint64_t cluster, bool up) const {
    const std::uint64_t at = geometry_.offset_of(cluster).bytes;
    if (up) {
        return fail(ErrorKind::unsupported,
                    fmt::format("{}: refcount of the cluster at {:#x} would exceed what {} bits can hold",
                                printable(storage_->name()), at, geometry_.refcount_bits()),
                    EINVAL);
    }
    return failf(ErrorKind::corrupt, "{}: cluster at {:#x} is in use, but its refcount is 0; run check",
                 printable(storage_->name()), at);
}

Result<void> Refcounts::change(ClusterRun run, bool up) {
    const std::uint64_t entries = geometry_.refcount_block_entries();
    const unsigned order = geometry_.refcount_order();
    const std::uint64_t end = run.first + run.count;
    for (std::uint64_t cluster = run.first; cluster < end;) {
        const std::uint64_t index = geometry_.refcount_block_of(cluster);
        const std::uint64_t base = index * entries;
        const EntryRange part{cluster - base, std::min(end - base, entries)};
        if (index >= table_.size() || table_[index] == 0) return cannot_change(cluster, up);
        Block* block = TRY(read_block(index));
        const std::uint64_t done =
            up ? raise_refcounts(block->bytes, order, part) : lower_refcounts(block->bytes, order, part);
        if (done != part.first) mark_dirty(*block);
        if (!up) {
            const std::uint64_t freed = find_zero_refcount(block->bytes, order, {part.first, done});
            if (freed != done) search_start_ = std::min(search_start_, base + freed);
        }
        if (done != part.end) return cannot_change(base + done, up);
        cluster = base + done;
    }
    return {};
}

Result<std::uint64_t> Refcounts::end_of_used_clusters() {
    const std::uint64_t entries = geometry_.refcount_block_entries();
    for (std::uint64_t index = table_.size(); index-- > 0;) {
        if (table_[index] == 0) continue;
        const bool was_loaded = blocks_[index] != nullptr;
        Block* block = TRY(read_block(index));
        for (std::uint64_t i = entries; i-- > 0;) {
            if (get_refcount(block->bytes, geometry_.refcount_order(), i) != 0)
                return index * entries + i + 1;
        }
        // an empty block is not worth its memory; a hostile table could point to millions of them
        if (!was_loaded) blocks_[index].reset();
    }
    return 0;
}

// Nothing, or one reference to the cluster that the block itself is in.
bool Refcounts::counts_only(const Block& block, std::uint64_t own_cluster) const {
    const std::uint64_t entries = geometry_.refcount_block_entries();
    for (std::uint64_t i = 0; i < entries; ++i) {
        const std::uint64_t allowed = block.index * entries + i == own_cluster ? 1 : 0;
        if (get_refcount(block.bytes, geometry_.refcount_order(), i) > allowed) return false;
    }
    return true;
}

Result<std::vector<ClusterRun>> Refcounts::drop_empty_blocks() {
    std::vector<ClusterRun> counted_elsewhere;
    for (std::uint64_t index = 0; index < table_.size(); ++index) {
        if (table_[index] == 0) continue;
        const bool was_loaded = blocks_[index] != nullptr;
        const Block* block = TRY(read_block(index));
        const std::uint64_t own_cluster = geometry_.cluster_at(HostOffset(table_[index]));
        if (!counts_only(*block, own_cluster)) {
            if (!was_loaded) blocks_[index].reset();
            continue;
        }
        if (own_cluster / geometry_.refcount_block_entries() != index) {
            counted_elsewhere.push_back({own_cluster, 1});
        }
        std::erase(dirty_blocks_, index);
        blocks_[index].reset();
        set_table_entry(index, HostOffset(0));
    }
    return counted_elsewhere;
}

Result<void> Refcounts::write_blocks() {
    std::sort(dirty_blocks_.begin(), dirty_blocks_.end());
    for (std::uint64_t index : dirty_blocks_) {
        TRY(storage_->write(HostOffset(table_[index]), blocks_[index]->bytes));
        blocks_[index]->dirty = false;
    }
    dirty_blocks_.clear();
    return {};
}

Result<void> Refcounts::write_table() {
    if (!is_table_dirty()) return {};
    Bytes raw((dirty_table_end_ - dirty_table_first_) * table_entry_bytes);
    for (std::uint64_t i = dirty_table_first_; i < dirty_table_end_; ++i) {
        store(std::span(raw).subspan((i - dirty_table_first_) * table_entry_bytes), be64(table_[i]));
    }
    TRY(storage_->write(table_at_ + dirty_table_first_ * table_entry_bytes, raw));
    dirty_table_first_ = dirty_table_end_ = 0;
    return {};
}

}  // namespace qimg::qcow2
