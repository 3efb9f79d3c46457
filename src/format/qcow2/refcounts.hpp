// Refcounts: how often each host cluster is used, and which are free.
//
// Blocks are loaded when first asked for and changed in memory; write_back() brings them to the file. Who
// calls it, and between which flushes, is the business of Qcow2, which knows the order that is crash-safe.
// qcow2 "Host cluster management".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "format/qcow2/header.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

// A run of host clusters by number.
struct ClusterRun {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};

// Neighbouring clusters with the same refcount.
struct AlikeClusters {
    std::uint64_t count = 0;
    std::uint64_t refcount = 0;
};

class Refcounts {
  public:
    Refcounts(Storage& storage, const Header& header);

    // Reads the refcount table. Errors: corrupt for entries that are not cluster-aligned or past 2^56.
    Result<void> load();
    // Begins a new file's table of `clusters` clusters at `at`: all clusters are free, the table's own, too.
    void start_empty(HostOffset at, std::uint64_t clusters);

    Result<std::uint64_t> get(std::uint64_t cluster);
    // The cluster `first`, and as many behind it, with it at most `count`, as are found to be like it: at least 1,
    // perhaps fewer than there are.
    Result<AlikeClusters> get_alike(std::uint64_t first, std::uint64_t count);
    // Adds to or takes from the refcount of each cluster. Errors: corrupt below 0, unsupported above what
    // the width can hold; on an error some clusters may be changed already.
    Result<void> add(ClusterRun run);
    Result<void> subtract(ClusterRun run);

    // `count` free clusters in one run, with refcount 1 afterwards. Searches from where the last search
    // ended.
    Result<ClusterRun> allocate(std::uint64_t count);
    // As many free clusters as follow each other, at least 1, at most `count`.
    Result<ClusterRun> allocate_some(std::uint64_t count);
    // Takes a run that is known to be free.
    Result<void> claim(ClusterRun run);

    // Where the next search for free clusters begins: no cluster below it is free.
    std::uint64_t search_start() const { return search_start_; }
    // The highest cluster with a refcount above 0, plus 1.
    Result<std::uint64_t> end_of_used_clusters();

    // Drops the blocks that count nothing, or nothing but themselves, from the table. Returns the clusters of
    // those that another block counts: to be released once the table is on stable storage.
    Result<std::vector<ClusterRun>> drop_empty_blocks();

    // Where the refcount table is (to be) in the file; differs from the header's after it had to move.
    HostOffset table_offset() const { return table_at_; }
    std::uint64_t table_clusters() const { return table_clusters_; }
    const std::vector<std::uint64_t>& table() const { return table_; }
    // Where the table was before it moved: to be freed once the header no longer points there.
    std::vector<ClusterRun> take_old_tables() { return std::exchange(old_tables_, {}); }

    bool is_dirty() const { return !dirty_blocks_.empty(); }
    bool is_table_dirty() const { return dirty_table_first_ < dirty_table_end_; }
    // Changed blocks to the file.
    Result<void> write_blocks();
    // Changed table entries to the file, after the blocks that they point to are on stable storage.
    Result<void> write_table();

  private:
    struct Block {
        std::uint64_t index = 0;
        Bytes bytes;
        bool dirty = false;
    };

    Result<Block*> read_block(std::uint64_t index);
    Result<void> ensure_block(std::uint64_t index);
    Result<void> ensure_blocks_for(ClusterRun run);
    Result<void> grow_table(std::uint64_t entries);
    Result<void> change(ClusterRun run, bool up);
    bool counts_only(const Block& block, std::uint64_t own_cluster) const;
    Result<ClusterRun> find_free(std::uint64_t count, bool whole);
    Result<ClusterRun> find_and_claim(std::uint64_t count, bool whole);
    void mark_dirty(Block& block);
    std::unexpected<Error> cannot_change(std::uint64_t cluster, bool up) const;
    void set_table_entry(std::uint64_t index, HostOffset at);

    Storage* storage_;
    Geometry geometry_;
    std::vector<std::uint64_t> table_;
    std::vector<std::unique_ptr<Block>> blocks_;
    std::vector<std::uint64_t> dirty_blocks_;
    HostOffset table_at_;
    std::uint64_t table_clusters_ = 0;
    std::vector<ClusterRun> old_tables_;
    std::uint64_t dirty_table_first_ = 0;  // changed table entries: [first, end)
    std::uint64_t dirty_table_end_ = 0;
    std::uint64_t search_start_ = 0;
};

}  // namespace qimg::qcow2
