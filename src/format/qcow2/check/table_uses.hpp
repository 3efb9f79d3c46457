// TableUses: the L2 tables of an image, each once, and how many L1 entries point to it.
//
// What millions of hostile L1 entries cost is thereby bounded by the tables that the file has room for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "qimg/units.hpp"

namespace qimg::qcow2 {

struct TableUse {
    HostOffset at;
    std::uint64_t references = 0;         // by all L1 tables
    std::uint64_t active_references = 0;  // by the active one
    bool all_copied = false;   // every host cluster has the copied flag, nothing else is remarkable
    bool alone = false;        // nothing but these references points to its clusters
    bool is_reported = false;  // its findings were
};

class TableUses {
  public:
    // As many references more, of them so many by the active L1 table.
    void add(HostOffset at, std::uint64_t references, std::uint64_t active_references);
    // Sorts by offset and joins; to be called between the last add() and the first of those below.
    void settle();

    std::vector<TableUse>& tables() { return tables_; }
    // Null for a table that was not added.
    TableUse* find(HostOffset at);

  private:
    static constexpr std::size_t pending_max = 1 << 18;

    std::vector<TableUse> tables_;   // sorted
    std::vector<TableUse> pending_;  // not yet
};

}  // namespace qimg::qcow2
