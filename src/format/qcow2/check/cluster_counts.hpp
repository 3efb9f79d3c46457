// ClusterCounts: one number for each host cluster, in memory that only clusters in use take up.
//
// Counts take 16 bits; the few chunks of the file with larger ones have 64. A count stops at the largest
// refcount that the image can hold.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/zeroed_memory.hpp"
#include "format/qcow2/refcounts.hpp"

namespace qimg::qcow2 {

class ClusterCounts {
  public:
    // Told for a cluster how many references more than `limit` it has.
    using OnOverflow = std::function<void(std::uint64_t cluster, std::uint64_t excess)>;

    // `clusters`: how many the file has; later ones may be counted, too.
    ClusterCounts(std::uint64_t clusters, std::uint64_t limit) : clusters_(clusters), limit_(limit) {}

    void add(ClusterRun run, std::uint64_t times, const OnOverflow& on_overflow);
    std::uint64_t get(std::uint64_t cluster) const;
    void set(std::uint64_t cluster, std::uint64_t count);
    // The counts of clusters from `first` on. None above the limit.
    void assign(std::uint64_t first, std::span<const std::uint64_t> counts);
    // Forgets all counts.
    void clear();

    // The file's clusters, and those behind them that were counted.
    std::uint64_t clusters() const { return clusters_; }
    // True when a cluster was ever counted twice.
    bool has_shared() const { return has_shared_; }

    // The counts from `cluster` to the end of its chunk while they take 16 bits; empty otherwise.
    std::span<const std::uint16_t> narrow(std::uint64_t cluster) const;
    // The first cluster in [first, end) with a count, else `end`.
    std::uint64_t first_used(std::uint64_t first, std::uint64_t end) const;
    // The first cluster from `first` on without one; there always is one behind all others.
    std::uint64_t first_free(std::uint64_t first) const;
    // True when all of the run was never counted, told without a look at each.
    bool is_untouched(ClusterRun run) const;

  private:
    static constexpr std::uint64_t chunk_cells = 1 << 15;
    struct Chunk {
        std::uint16_t* narrow = nullptr;  // in slabs_
        std::unique_ptr<std::uint64_t[]> wide;
    };

    std::uint16_t* take_narrow();
    Chunk& chunk_for(std::uint64_t cluster);
    void widen(Chunk& chunk);
    bool add_narrow(std::span<std::uint16_t> cells, std::uint64_t times);

    std::uint64_t clusters_;
    std::uint64_t limit_;
    bool has_shared_ = false;
    std::vector<Chunk> chunks_;
    std::vector<ZeroedMemory> slabs_;
    std::span<std::uint16_t> untaken_;  // rest of the last slab
};

}  // namespace qimg::qcow2
