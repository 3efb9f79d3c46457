// Copied flags: an entry of the active tables has it exactly when its cluster's refcount is 1.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "format/qcow2/check/findings.hpp"
#include "format/qcow2/check/refcount_comparison.hpp"
#include "format/qcow2/check/table_uses.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg::qcow2 {

class CopiedFlags {
  public:
    // `refcounts` has been compared with adoption. `all_ones`: no cluster has another refcount than 1 that an
    // active table refers to. `is_l1_alone`: nothing but the header points to the active L1 table.
    CopiedFlags(Qcow2& image, const RefcountComparison& refcounts, TableUses& tables, bool is_l1_alone,
                bool all_ones)
        : image_(image),
          header_(image.header()),
          refcounts_(refcounts),
          tables_(tables),
          is_l1_alone_(is_l1_alone),
          all_ones_(all_ones) {}

    // Reports every entry that is wrong; with `repair`, corrects it in the file. qcow2 "L1 table entry",
    // "Standard Cluster Descriptor".
    Result<void> check(bool repair, Findings& findings);

  private:
    Result<void> check_l2_table(HostOffset at, bool repair, Findings& findings);
    Result<std::optional<std::uint64_t>> refcount_of(const L2Entry& entry) const;
    Result<bool> write_corrected(HostOffset at, std::span<const std::byte> table, Findings& findings);

    Qcow2& image_;
    const Header& header_;
    const RefcountComparison& refcounts_;
    TableUses& tables_;
    bool is_l1_alone_;
    bool all_ones_;
    std::uint64_t repetitions_ = 0;
};

}  // namespace qimg::qcow2
