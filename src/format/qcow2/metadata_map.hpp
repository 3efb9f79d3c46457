// MetadataMap: which clusters of a file hold metadata, so that a hostile or damaged table cannot lead a write
// of something else there. Knows where structures are; what becomes of a write is its caller's business.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "format/qcow2/header.hpp"
#include "format/qcow2/refcounts.hpp"
#include "format/qcow2/snapshots.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

enum class MetadataKind {
    header,
    active_l1,
    active_l2,
    refcount_table,
    refcount_block,
    snapshot_table,
    bitmap_directory,
    inactive_l1,
};

// As QEMU calls it in its messages.
std::string_view name_of(MetadataKind kind);

class MetadataMap {
  public:
    // Remembers the tables that the file has before the first change; tables made since are counted by who
    // made them. `l1` and `refcount_table` as in the file.
    void load(const Geometry& geometry, std::span<const std::uint64_t> l1,
              std::span<const std::uint64_t> refcount_table);
    // Where these snapshots have their L1 tables, and how long their own table is.
    void set_snapshots(const Geometry& geometry, std::span<const Snapshot> snapshots,
                       std::uint64_t table_bytes);
    // A L2 table that was made since.
    void add_l2(std::uint64_t cluster) { made_l2_.insert(cluster); }
    // The cluster is free: whatever it was, it is no table any more.
    void forget(std::uint64_t cluster);

    // The metadata that shares a cluster with `run`, if any. Header fields as they are at the moment.
    std::optional<MetadataKind> find(ClusterRun run, const Header& header) const;
    // The same without L2 tables.
    std::optional<MetadataKind> find_beside_l2(ClusterRun run, const Header& header) const;
    // The same without what only other tables lead to: what the header itself names, and the header.
    static std::optional<MetadataKind> find_named_by_header(ClusterRun run, const Header& header);
    // Errors: corrupt when structures that every change writes to lie on top of each other.
    Result<void> check_disjoint(const Header& header, std::string_view file) const;

  private:
    struct Table {
        std::uint64_t cluster;
        MetadataKind kind;
        bool in_use;
    };
    struct Area {
        std::uint64_t first;
        std::uint64_t end;
        MetadataKind kind;
    };

    static std::array<Area, 5> areas_named_by(const Header& header, std::uint64_t snapshot_bytes);
    static std::optional<MetadataKind> find_in(std::span<const Area> areas, ClusterRun run);
    const Table* first_table_in(ClusterRun run, bool with_l2) const;

    std::vector<Table> tables_;  // L2 tables and refcount blocks, by cluster
    std::set<std::uint64_t> made_l2_;
    std::vector<Area> inactive_l1_;     // by cluster, none overlaps the next
    std::uint64_t snapshot_bytes_ = 0;  // length of the snapshot table
};

}  // namespace qimg::qcow2
