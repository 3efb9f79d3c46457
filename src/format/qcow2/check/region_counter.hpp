// RegionCounter: counts a reference to each cluster that a range of host bytes touches.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "format/qcow2/check/cluster_counts.hpp"
#include "format/qcow2/geometry.hpp"

namespace qimg::qcow2 {

class RegionCounter {
  public:
    RegionCounter(ClusterCounts& counts, const Geometry& geometry, std::uint64_t file_bytes)
        : counts_(counts), geometry_(geometry), file_bytes_(file_bytes) {}

    // A file's last cluster may be cut short, so a range may end up to a cluster behind the end.
    bool is_outside(HostOffset at, std::uint64_t bytes) const {
        const auto end = checked_add(at.bytes, bytes);
        return !end || (*end > file_bytes_ && *end - file_bytes_ >= geometry_.cluster_bytes());
    }
    std::string outside_text(HostOffset at, std::uint64_t bytes) const {
        return fmt::format(
            "ERROR: counting reference for region exceeding the end of the file by one cluster or "
            "more: offset {:#x} size {:#x}",
            at.bytes, bytes);
    }
    static std::string overflow_text(std::uint64_t host_offset) {
        return fmt::format(
            "ERROR: overflow cluster offset={:#x}\n"
            "Use qimg amend to increase the refcount entry width or qimg convert to create a clean "
            "copy if the image cannot be opened for writing",
            host_offset);
    }

    // The range must not be outside. on_overflow(text, excess) is told of counts that do not fit.
    template <class OnOverflow>
    void count(HostOffset at, std::uint64_t bytes, std::uint64_t times, OnOverflow on_overflow) {
        if (bytes == 0) return;
        const std::uint64_t first = geometry_.cluster_at(at);
        const std::uint64_t last = geometry_.cluster_at(at + (bytes - 1));
        counts_.add({first, last - first + 1}, times, [&](std::uint64_t cluster, std::uint64_t excess) {
            on_overflow(overflow_text(geometry_.offset_of(cluster).bytes), excess);
        });
    }

    std::uint64_t file_bytes() const { return file_bytes_; }

  private:
    ClusterCounts& counts_;
    Geometry geometry_;
    std::uint64_t file_bytes_;
};

}  // namespace qimg::qcow2
