// Merging ranges as they come.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/changed_ranges.hpp"

#include <algorithm>
#include <iterator>

namespace qimg::qcow2 {

void ChangedRanges::add(GuestRange range) {
    if (range.empty()) return;
    std::uint64_t start = round_down(range.start.bytes, unit_);
    std::uint64_t end = round_up(range.end().bytes, unit_);
    auto next = ends_.upper_bound(start);
    if (next != ends_.begin() && std::prev(next)->second >= start) {
        --next;
        if (next->second >= end) return;
        start = next->first;
    }
    while (next != ends_.end() && next->first <= end) {
        end = std::max(end, next->second);
        next = ends_.erase(next);
    }
    ends_.emplace_hint(next, start, end);
}

std::vector<GuestRange> ChangedRanges::take() {
    std::vector<GuestRange> ranges;
    ranges.reserve(ends_.size());
    for (const auto& [start, end] : ends_)
        ranges.push_back(GuestRange::between(GuestOffset(start), GuestOffset(end)));
    ends_.clear();
    return ranges;
}

}  // namespace qimg::qcow2
