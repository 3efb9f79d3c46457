// RefcountComparison: what the refcounts say against what was counted; puts refcounts right where it may.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "format/qcow2/check/cluster_counts.hpp"
#include "format/qcow2/check/findings.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg::qcow2 {

class RefcountComparison {
  public:
    // `table`: the refcount table's entries. `counts` is what was counted; after a pass that adopts, what the
    // refcounts in the file say.
    RefcountComparison(Qcow2& image, const std::vector<std::uint64_t>& table, ClusterCounts& counts)
        : image_(image), geometry_(image.geometry()), table_(table), counts_(counts) {}

    struct Pass {
        Repair repair = Repair::none;
        bool adopt = false;
        bool is_silent = false;  // no line for a refcount block that cannot be read
    };
    // Reports every difference; with repair, writes those refcounts that it mends.
    Result<void> compare(const Pass& pass, Findings& findings);

    // Clusters were found in use that no refcount speaks of.
    bool found_uncounted() const { return found_uncounted_; }
    bool found_difference() const { return found_difference_; }
    // The highest cluster that is referred to or has a refcount.
    std::uint64_t highest_cluster() const { return highest_; }
    // What the file says of any cluster; empty when the block cannot be read. After a pass that adopts.
    Result<std::optional<std::uint64_t>> refcount(std::uint64_t cluster) const;

  private:
    struct Block {
        std::uint64_t index = 0;
        std::uint64_t first = 0;  // cluster
        std::uint64_t count = 0;  // of clusters that are compared
        std::span<std::byte> bytes;
        bool is_changed = false;
    };

    bool is_readable(std::uint64_t index) const;
    std::uint64_t in_block(const Block& block, std::uint64_t cluster) const;
    std::uint64_t equal_prefix(const Block& block, std::uint64_t cluster) const;
    void note_highest(const Block& block);
    void report_unreadable(const Block& block, const Pass& pass, Findings& findings);
    void compare_cluster(Block& block, std::uint64_t cluster, const Pass& pass, Findings& findings);

    Qcow2& image_;
    Geometry geometry_;
    const std::vector<std::uint64_t>& table_;
    ClusterCounts& counts_;
    bool found_uncounted_ = false;
    bool found_difference_ = false;
    bool has_told_unreadable_ = false;
    std::uint64_t highest_ = 0;
};

}  // namespace qimg::qcow2
