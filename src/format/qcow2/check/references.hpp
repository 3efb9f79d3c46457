// References: how often header and tables refer to each host cluster.
//
// Follows the active L1 table, the snapshots', the refcount structures and the bitmaps. Knows nothing of what
// the refcounts say. qcow2 "Host cluster management".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/qcow2/check/cluster_counts.hpp"
#include "format/qcow2/check/findings.hpp"
#include "format/qcow2/check/l2_scan.hpp"
#include "format/qcow2/check/region_counter.hpp"
#include "format/qcow2/check/table_uses.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg::qcow2 {

class References {
  public:
    References(Qcow2& image, std::span<const Snapshot> snapshots, Repair repair, std::uint64_t file_bytes,
               Findings& findings, Progress& progress);

    // Counts everything; may be called once. With Repair::all, L2 entries are mended on the way.
    Result<void> count();

    ClusterCounts& counts() { return counts_; }
    TableUses& tables() { return tables_; }
    const GuestStatistics& statistics() const { return scan_.statistics(); }
    // The refcount table as it is in the file, reserved bits included.
    const std::vector<std::uint64_t>& refcount_table() const { return refcount_table_; }
    // Nothing else points to the clusters of the active L1 table.
    bool is_l1_alone() const { return is_l1_alone_; }
    // The refcount structures cannot be used as they are.
    bool needs_rebuild() const { return needs_rebuild_; }

  private:
    struct L1Table {
        HostOffset at;
        std::uint64_t entries = 0;
        bool active = false;
        std::vector<std::string> corruptions;  // of the table itself
        bool is_remarkable = false;            // an entry breaks a rule
    };

    void list_l1_tables();
    Result<void> collect_l2_tables();
    void count_l1_table(L1Table& table);
    Result<void> scan_l2_tables();
    Result<void> mend_entries();
    Result<void> report_tables();
    void report_l2_table(HostOffset at);
    Result<void> count_bitmaps();
    Result<void> load_refcount_table();
    void count_refcount_blocks();
    bool is_l1_entry_remarkable(std::uint64_t entry) const;
    void count_region(HostOffset at, std::uint64_t bytes);
    bool spend(std::uint64_t bytes);
    template <class Visit>
    Result<void> visit_l1(const L1Table& table, Visit visit);

    Qcow2& image_;
    std::span<const Snapshot> snapshots_;
    const Header& header_;
    Geometry geometry_;
    Repair repair_;
    Findings& findings_;
    Progress& progress_;
    ClusterCounts counts_;
    RegionCounter regions_;
    L2Scan scan_;
    TableUses tables_;
    std::vector<L1Table> l1_tables_;
    std::vector<std::uint64_t> refcount_table_;
    bool is_l1_alone_ = true;
    bool needs_rebuild_ = false;
    std::uint64_t budget_bytes_;  // of tables still to be read: tables that overlap would take forever
    bool is_budget_spent_ = false;
    std::uint64_t reports_left_ = 1 << 20;
};

}  // namespace qimg::qcow2
