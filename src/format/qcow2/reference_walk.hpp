// Walking everything that an L1 table refers to: for snapshots, and for a disk that gets shorter.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

enum class ReferenceChange { add, release };

// One reference more, or (later, see Qcow2::release_later) one less, to each L2 table of `l1` and each data
// cluster in them.
Result<void> change_references(Qcow2& image, std::span<const std::uint64_t> l1, ReferenceChange change);

enum class CopiedRule {
    clear,           // everything is about to be shared
    from_refcounts,  // set exactly where the refcount is 1
};

// Sets the copied flags of the active L1 and L2 tables. qcow2 "L1 table entry", bit 63.
Result<void> update_copied_flags(Qcow2& image, CopiedRule flags);

}  // namespace qimg::qcow2
