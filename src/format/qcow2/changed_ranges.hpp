// Guest ranges that changed, gathered until bitmaps take them over.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "qimg/units.hpp"

namespace qimg::qcow2 {

class ChangedRanges {
  public:
    // Neighbours closer than `unit` bytes (a power of two) are not told apart.
    explicit ChangedRanges(std::uint64_t unit = sector_bytes) : unit_(unit) {}

    void add(GuestRange range);
    bool empty() const { return ends_.empty(); }
    // All of them, in order; none are left.
    std::vector<GuestRange> take();

  private:
    std::uint64_t unit_;
    std::map<std::uint64_t, std::uint64_t> ends_;  // start to end, apart from each other
};

}  // namespace qimg::qcow2
