// SnapshotTableCheck: what of the snapshot table itself breaks a rule, and the table that takes its place.
//
// Knows nothing of refcounts: the rest of the check counts what the mended table refers to, and when that is right
// the table is written anew. qcow2 "Snapshots".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "format/qcow2/check/findings.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg::qcow2 {

class SnapshotTableCheck {
  public:
    explicit SnapshotTableCheck(Qcow2& image) : image_(image) {}

    // Reads the table and tells its faults. Errors: corrupt, in a file that a repair would not read either; when
    // only a repair of all can read it, with a hint.
    Result<void> read(Repair repair, const Findings& findings);

    // The table as far as it can be read, which is what a repair keeps.
    const SnapshotTable& table() const { return table_; }
    // Rules broken. A repair that got the refcounts right mends them all by rewrite().
    std::uint64_t corruptions() const { return corruptions_; }
    // Puts a table without the faults into the place of the old one, in one write of the header. What only the
    // old one referred to must have been freed.
    Result<void> rewrite();

  private:
    Result<void> refuse() const;
    void tell(Repair repair, const Findings& findings);

    Qcow2& image_;
    SnapshotTable table_;
    std::uint64_t corruptions_ = 0;
};

}  // namespace qimg::qcow2
