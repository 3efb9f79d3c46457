// Counting: whole runs at once where the counts are small, cell by cell where one is not.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/cluster_counts.hpp"

#include <algorithm>
#include <limits>

namespace qimg::qcow2 {

namespace {

constexpr std::uint64_t narrow_max = std::numeric_limits<std::uint16_t>::max();

}  // namespace

// Memory for the cells of a chunk: each slab is twice as large as the one before, up to a huge page, so that few clusters
// take little memory and many cause few page faults.
std::uint16_t* ClusterCounts::take_narrow() {
    if (untaken_.empty()) {
        const std::size_t bytes = slabs_.empty() ? chunk_cells * sizeof(std::uint16_t)
                                                 : std::min<std::size_t>(2 * slabs_.back().size(), 2 * MiB);
        const ZeroedMemory& slab = slabs_.emplace_back(bytes);
        untaken_ = std::span(reinterpret_cast<std::uint16_t*>(slab.data()), bytes / sizeof(std::uint16_t));
    }
    std::uint16_t* const taken = untaken_.data();
    untaken_ = untaken_.subspan(chunk_cells);
    return taken;
}

ClusterCounts::Chunk& ClusterCounts::chunk_for(std::uint64_t cluster) {
    const std::uint64_t index = cluster / chunk_cells;
    if (index >= chunks_.size()) chunks_.resize(index + 1);
    Chunk& chunk = chunks_[index];
    if (!chunk.narrow && !chunk.wide) chunk.narrow = take_narrow();
    return chunk;
}

void ClusterCounts::widen(Chunk& chunk) {
    if (chunk.wide) return;
    chunk.wide = std::make_unique<std::uint64_t[]>(chunk_cells);
    std::copy_n(chunk.narrow, chunk_cells, chunk.wide.get());
    chunk.narrow = nullptr;
}

// False, and nothing added, when a sum would pass the limit or 16 bits.
bool ClusterCounts::add_narrow(std::span<std::uint16_t> cells, std::uint64_t times) {
    const std::uint64_t sum_max = std::min(limit_, narrow_max);
    if (times > sum_max) return false;
    const auto old_max = static_cast<std::uint16_t>(sum_max - times);
    std::uint16_t highest = 0;
    for (const std::uint16_t cell : cells)
        highest = std::max(highest, cell);
    if (highest > old_max) return false;
    has_shared_ = has_shared_ || highest != 0 || times > 1;
    const auto increment = static_cast<std::uint16_t>(times);
    for (std::uint16_t& cell : cells)
        cell = static_cast<std::uint16_t>(cell + increment);
    return true;
}

void ClusterCounts::add(ClusterRun run, std::uint64_t times, const OnOverflow& on_overflow) {
    clusters_ = std::max(clusters_, run.first + run.count);
    while (run.count != 0) {
        Chunk& chunk = chunk_for(run.first);
        const std::uint64_t at = run.first % chunk_cells;
        const std::uint64_t count = std::min(run.count, chunk_cells - at);
        if (!chunk.narrow || !add_narrow(std::span(chunk.narrow + at, count), times)) {
            has_shared_ = true;
            for (std::uint64_t cluster = run.first; cluster < run.first + count; ++cluster) {
                const std::uint64_t old = get(cluster);
                const std::uint64_t room = limit_ - old;
                set(cluster, old + std::min(room, times));
                if (times > room) on_overflow(cluster, times - room);
            }
        }
        run.first += count;
        run.count -= count;
    }
}

std::uint64_t ClusterCounts::get(std::uint64_t cluster) const {
    const std::uint64_t index = cluster / chunk_cells;
    if (index >= chunks_.size()) return 0;
    const Chunk& chunk = chunks_[index];
    if (chunk.narrow) return chunk.narrow[cluster % chunk_cells];
    return chunk.wide ? chunk.wide[cluster % chunk_cells] : 0;
}

void ClusterCounts::set(std::uint64_t cluster, std::uint64_t count) {
    clusters_ = std::max(clusters_, cluster + 1);
    Chunk& chunk = chunk_for(cluster);
    if (count > narrow_max) widen(chunk);
    if (chunk.wide) {
        chunk.wide[cluster % chunk_cells] = count;
    } else {
        chunk.narrow[cluster % chunk_cells] = static_cast<std::uint16_t>(count);
    }
}

void ClusterCounts::assign(std::uint64_t first, std::span<const std::uint64_t> counts) {
    while (!counts.empty()) {
        const std::uint64_t at = first % chunk_cells;
        const auto part = counts.first(std::min<std::uint64_t>(counts.size(), chunk_cells - at));
        std::uint64_t all = 0;
        for (const std::uint64_t count : part)
            all |= count;
        if (all != 0) {
            clusters_ = std::max(clusters_, first + part.size());
            Chunk& chunk = chunk_for(first);
            if (all > narrow_max) widen(chunk);
            has_shared_ = has_shared_ || all > 1;
            if (chunk.wide) {
                std::copy(part.begin(), part.end(), chunk.wide.get() + at);
            } else {
                std::transform(part.begin(), part.end(), chunk.narrow + at,
                               [](std::uint64_t count) { return static_cast<std::uint16_t>(count); });
            }
        }
        counts = counts.subspan(part.size());
        first += part.size();
    }
}

void ClusterCounts::clear() {
    chunks_.clear();
    slabs_.clear();
    untaken_ = {};
    has_shared_ = false;
}

std::span<const std::uint16_t> ClusterCounts::narrow(std::uint64_t cluster) const {
    static const std::array<std::uint16_t, chunk_cells> zeroes{};
    const std::uint64_t index = cluster / chunk_cells;
    const std::uint64_t at = cluster % chunk_cells;
    if (index >= chunks_.size() || (!chunks_[index].narrow && !chunks_[index].wide)) {
        return std::span(zeroes).subspan(at);
    }
    if (!chunks_[index].narrow) return {};
    return std::span<const std::uint16_t>(chunks_[index].narrow + at, chunk_cells - at);
}

std::uint64_t ClusterCounts::first_used(std::uint64_t first, std::uint64_t end) const {
    const auto used_in = [](auto cells) {
        return static_cast<std::uint64_t>(
            std::find_if(cells.begin(), cells.end(), [](auto cell) { return cell != 0; }) - cells.begin());
    };
    while (first < end && first / chunk_cells < chunks_.size()) {
        const Chunk& chunk = chunks_[first / chunk_cells];
        const std::uint64_t at = first % chunk_cells;
        const std::uint64_t count = std::min(end - first, chunk_cells - at);
        const std::uint64_t passed = chunk.narrow ? used_in(std::span(chunk.narrow + at, count))
                                     : chunk.wide ? used_in(std::span(chunk.wide.get() + at, count))
                                                  : count;
        first += passed;
        if (passed < count) return first;
    }
    return end;
}

std::uint64_t ClusterCounts::first_free(std::uint64_t first) const {
    const auto free_in = [](auto cells) {
        return static_cast<std::uint64_t>(std::find(cells.begin(), cells.end(), 0) - cells.begin());
    };
    while (first / chunk_cells < chunks_.size()) {
        const Chunk& chunk = chunks_[first / chunk_cells];
        const std::uint64_t at = first % chunk_cells;
        const std::uint64_t count = chunk_cells - at;
        const std::uint64_t passed = chunk.narrow ? free_in(std::span(chunk.narrow + at, count))
                                     : chunk.wide ? free_in(std::span(chunk.wide.get() + at, count))
                                                  : 0;
        first += passed;
        if (passed < count) return first;
    }
    return first;
}

bool ClusterCounts::is_untouched(ClusterRun run) const {
    for (std::uint64_t index = run.first / chunk_cells;
         index < chunks_.size() && index * chunk_cells < run.first + run.count; ++index) {
        if (chunks_[index].narrow || chunks_[index].wide) return false;
    }
    return true;
}

}  // namespace qimg::qcow2
