// Placing and writing new refcount structures.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/rebuild.hpp"

#include <algorithm>

#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

void ignore_overflow(std::uint64_t, std::uint64_t) {}

// Where new refcount structures go, worked out before anything is written.
class Plan {
  public:
    Plan(const Geometry& geometry, ClusterCounts& counts) : geometry_(geometry), counts_(counts) {}

    // Blocks for all clusters with references, those of the blocks and of the table included: each round may
    // use clusters that need one block more.
    void make() {
        for (;;) {
            while (add_missing_blocks()) {
            }
            const std::uint64_t clusters = geometry_.clusters_for(blocks_.size() * table_entry_bytes);
            if (clusters <= table_.count) return;
            for (std::uint64_t i = 0; i < table_.count; ++i)
                counts_.set(table_.first + i, 0);
            table_ = take(clusters);
        }
    }

    // The cluster of each block; 0 where none is needed.
    const std::vector<std::uint64_t>& blocks() const { return blocks_; }
    ClusterRun table() const { return table_; }

  private:
    bool needs_block(std::uint64_t index) const {
        const std::uint64_t entries = geometry_.refcount_block_entries();
        const ClusterRun run{index * entries, entries};
        if (counts_.is_untouched(run)) return false;
        for (std::uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
            if (counts_.get(cluster) != 0) return true;
        }
        return false;
    }

    bool add_missing_blocks() {
        bool added = false;
        blocks_.resize(divide_up(counts_.clusters(), geometry_.refcount_block_entries()));
        for (std::uint64_t i = 0; i < blocks_.size(); ++i) {
            if (blocks_[i] != 0 || !needs_block(i)) continue;
            blocks_[i] = take(1).first;
            added = true;
        }
        return added || blocks_.size() < divide_up(counts_.clusters(), geometry_.refcount_block_entries());
    }

    // The first run of free clusters, maybe behind the end of the file.
    ClusterRun take(std::uint64_t count) {
        ClusterRun run{first_free_, 0};
        while (run.count < count) {
            if (counts_.get(run.first + run.count) == 0) {
                ++run.count;
            } else {
                // single clusters are taken one after the other: what was passed over stays in use
                if (run.count == 0 && run.first == first_free_) ++first_free_;
                run = {run.first + run.count + 1, 0};
            }
        }
        counts_.add(run, 1, ignore_overflow);
        return run;
    }

    Geometry geometry_;
    ClusterCounts& counts_;
    std::vector<std::uint64_t> blocks_;
    ClusterRun table_;
    std::uint64_t first_free_ = 1;
};

Result<void> write_structures(Storage& storage, const Geometry& geometry, const Plan& plan,
                              const ClusterCounts& counts) {
    Bytes table(plan.table().count * geometry.cluster_bytes());
    for (std::uint64_t i = 0; i < plan.blocks().size(); ++i) {
        if (plan.blocks()[i] == 0) continue;
        const HostOffset at = geometry.offset_of(plan.blocks()[i]);
        Bytes block(geometry.cluster_bytes());
        for (std::uint64_t entry = 0; entry < geometry.refcount_block_entries(); ++entry) {
            const std::uint64_t count = counts.get(i * geometry.refcount_block_entries() + entry);
            if (count != 0) set_refcount(block, geometry.refcount_order(), entry, count);
        }
        TRY(storage.write(at, block));
        store(std::span(table).subspan(i * table_entry_bytes), be64(at.bytes));
    }
    return storage.write(geometry.offset_of(plan.table().first), table);
}

}  // namespace

Result<void> rebuild_refcounts(Qcow2& image, ClusterCounts& counts,
                               const std::vector<std::uint64_t>& old_table) {
    const Geometry& geometry = image.geometry();
    // blocks that could not be counted because their entry is damaged may still be in use until the switch
    for (const std::uint64_t entry : old_table) {
        const std::uint64_t cluster = geometry.cluster_at(HostOffset(entry & disk::offset_mask));
        const std::uint64_t end = cluster + (geometry.is_cluster_aligned(entry & disk::offset_mask) ? 1 : 2);
        for (std::uint64_t touched = cluster; touched < end; ++touched) {
            if (touched < counts.clusters() && counts.get(touched) == 0) counts.set(touched, 1);
        }
    }
    Plan plan(geometry, counts);
    plan.make();
    const std::uint64_t table_bytes = plan.table().count * geometry.cluster_bytes();
    if (table_bytes > refcount_table_bytes_max) {
        return failf(ErrorKind::no_space, "{}: the refcount table would exceed {} MiB",
                     printable(image.storage().name()), refcount_table_bytes_max / MiB);
    }
    TRY(write_structures(image.storage(), geometry, plan, counts));
    Header& header = image.header();
    header.refcount_table = geometry.offset_of(plan.table().first);
    header.refcount_table_clusters = static_cast<std::uint32_t>(plan.table().count);
    return image.commit_header();
}

}  // namespace qimg::qcow2
