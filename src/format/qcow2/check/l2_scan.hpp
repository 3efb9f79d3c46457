// L2Scan: what the entries of L2 tables refer to, and which of them break a rule.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "format/qcow2/check/region_counter.hpp"
#include "format/qcow2/check/table_uses.hpp"
#include "format/qcow2/header.hpp"
#include "format/qcow2/l2_entry.hpp"

namespace qimg::qcow2 {

// What is wrong in one table.
struct TableFindings {
    std::uint64_t corruptions = 0;   // for each reference to the table
    std::vector<std::string> lines;  // likewise
    std::uint64_t corruptions_once = 0;
    std::vector<std::string> lines_once;
};

// An entry that says nothing but zeroes and points nowhere sensible: it may become a plain zero.
struct Mend {
    HostOffset entry;
    HostOffset table;
};

struct GuestStatistics {
    std::uint64_t allocated = 0;
    std::uint64_t fragmented = 0;
    std::uint64_t compressed = 0;
};

class L2Scan {
  public:
    // With `mend`, entries that can be mended are counted as if they were.
    L2Scan(const Header& header, RegionCounter& regions, bool mend);

    // Counts what the table refers to, as often as it is itself referred to.
    void scan(std::span<const std::byte> bytes, TableUse& use);

    const GuestStatistics& statistics() const { return statistics_; }
    const std::map<std::uint64_t, TableFindings>& findings() const { return findings_; }
    const std::vector<Mend>& mends() const { return mends_; }
    // To the table's findings: a line and what it stands for.
    void add_line(HostOffset table, std::string line);
    void add_line_once(HostOffset table, std::string line, std::uint64_t corruptions);

  private:
    // Lines kept for the report; what is behind them is only counted.
    static constexpr std::uint64_t lines_max = 1 << 20;

    enum class Verdict { counts, skip };
    struct Run {
        HostOffset start;
        std::uint64_t bytes = 0;
    };

    std::uint64_t continued_bytes(std::span<const std::byte> bytes, Run run) const;
    bool is_remarkable(const L2Entry& entry) const;
    Verdict judge(const L2Entry& entry, std::uint64_t index, const TableUse& use);
    Verdict judge_compressed(const L2Entry& entry, std::uint64_t index, const TableUse& use);
    Verdict judge_unaligned(const L2Entry& entry, std::uint64_t index, const TableUse& use);
    void count_run(Run run, const TableUse& use);
    void count_region(HostOffset at, std::uint64_t bytes, const TableUse& use);

    const Header& header_;
    Geometry geometry_;
    RegionCounter& regions_;
    bool mend_;
    std::uint64_t remarkable_bits_;
    std::uint64_t lines_ = 0;
    GuestStatistics statistics_;
    std::map<std::uint64_t, TableFindings> findings_;
    std::vector<Mend> mends_;
};

}  // namespace qimg::qcow2
