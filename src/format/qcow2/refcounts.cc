// Refcount table and blocks in memory: lookup, change, search for free clusters, growth.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcounts.hpp"

#include <algorithm>
#include <cerrno>

#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

std::uint64_t get_refcount(std::span<const std::byte> block, unsigned order, std::uint64_t index) {
    switch (order) {
        case 3:
            return std::to_integer<std::uint64_t>(block[index]);
        case 4:
            return load<be16>(block.subspan(index * 2));
        case 5:
            return load<be32>(block.subspan(index * 4));
        case 6:
            return load<be64>(block.subspan(index * 8));
        default: {
            const unsigned bits = 1u << order;
            const std::uint64_t bit = index << order;
            return std::to_integer<std::uint64_t>(block[bit / 8]) >> bit % 8 & ((1u << bits) - 1);
        }
    }
}

void set_refcount(std::span<std::byte> block, unsigned order, std::uint64_t index, std::uint64_t value) {
    switch (order) {
        case 3:
            block[index] = static_cast<std::byte>(value);
            return;
        case 4:
            return store(block.subspan(index * 2), be16(static_cast<std::uint16_t>(value)));
        case 5:
            return store(block.subspan(index * 4), be32(static_cast<std::uint32_t>(value)));
        case 6:
            return store(block.subspan(index * 8), be64(value));
        default: {
            const unsigned bits = 1u << order;
            const std::uint64_t bit = index << order;
            const auto mask = static_cast<std::byte>(((1u << bits) - 1) << bit % 8);
            std::byte& place = block[bit / 8];
            place = (place & ~mask) | (static_cast<std::byte>(value << bit % 8) & mask);
        }
    }
}

namespace {

template <class Raw>
void decode_words(std::span<const std::byte> block, std::span<std::uint64_t> counts) {
    for (std::size_t i = 0; i < counts.size(); ++i)
        counts[i] = load<Raw>(block.subspan(i * sizeof(Raw)));
}

template <class Raw, class Value>
void encode_words(std::span<std::byte> block, std::span<const std::uint16_t> counts) {
    for (std::size_t i = 0; i < counts.size(); ++i)
        store(block.subspan(i * sizeof(Raw)), Raw(static_cast<Value>(counts[i])));
}

}  // namespace

void decode_refcounts(std::span<const std::byte> block, unsigned order, std::span<std::uint64_t> counts) {
    switch (order) {
        case 4:
            return decode_words<be16>(block, counts);
        case 5:
            return decode_words<be32>(block, counts);
        case 6:
            return decode_words<be64>(block, counts);
        default:
            for (std::size_t i = 0; i < counts.size(); ++i)
                counts[i] = get_refcount(block, order, i);
    }
}

void encode_refcounts(std::span<std::byte> block, unsigned order, std::uint64_t first,
                      std::span<const std::uint16_t> counts) {
    const auto from = [&](std::uint64_t entry_bytes) { return block.subspan(first * entry_bytes); };
    switch (order) {
        case 4:
            return encode_words<be16, std::uint16_t>(from(2), counts);
        case 5:
            return encode_words<be32, std::uint32_t>(from(4), counts);
        case 6:
            return encode_words<be64, std::uint64_t>(from(8), counts);
        default:
            for (std::size_t i = 0; i < counts.size(); ++i)
                set_refcount(block, order, first + i, counts[i]);
    }
}

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
    const std::uint64_t index = cluster / geometry_.refcount_block_entries();
    if (index >= table_.size() || table_[index] == 0) return 0;
    Block* block = TRY(read_block(index));
    return get_refcount(block->bytes, geometry_.refcount_order(),
                        cluster % geometry_.refcount_block_entries());
}

void Refcounts::set(Block& block, std::uint64_t cluster, std::uint64_t value) {
    set_refcount(block.bytes, geometry_.refcount_order(), cluster % geometry_.refcount_block_entries(),
                 value);
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
        const std::uint64_t counted_in = free.first / geometry_.refcount_block_entries();
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
        set(*counting, free.first, 1);
        search_start_ = std::max(search_start_, free.first + 1);
        if (!blocks_[index]->dirty) dirty_blocks_.push_back(index);
        blocks_[index]->dirty = true;
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
        Block* block = TRY(read_block(index));
        for (; cluster < block_end && run.count < count; ++cluster) {
            if (get_refcount(block->bytes, geometry_.refcount_order(), cluster % entries) == 0) {
                ++run.count;
                continue;
            }
            if (run.count != 0 && !whole) return run;
            // clusters before the first free one need no second look next time
            if (run.count == 0 && run.first == search_start_) search_start_ = cluster + 1;
            run = {cluster + 1, 0};
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

Result<void> Refcounts::change(ClusterRun run, bool up) {
    const std::uint64_t entries = geometry_.refcount_block_entries();
    for (std::uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
        const std::uint64_t index = cluster / entries;
        const std::uint64_t old = TRY(get(cluster));
        if (up && old == geometry_.refcount_max()) {
            return fail(ErrorKind::unsupported,
                        fmt::format("{}: refcount of the cluster at {:#x} would exceed what {} bits can hold",
                                    printable(storage_->name()), geometry_.offset_of(cluster).bytes,
                                    geometry_.refcount_bits()),
                        EINVAL);
        }
        if (!up && old == 0) {
            return failf(ErrorKind::corrupt,
                         "{}: cluster at {:#x} is in use, but its refcount is 0; run check",
                         printable(storage_->name()), geometry_.offset_of(cluster).bytes);
        }
        Block* block = TRY(read_block(index));
        set(*block, cluster, up ? old + 1 : old - 1);
        if (!up && old == 1) search_start_ = std::min(search_start_, cluster);
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
