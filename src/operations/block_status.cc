// From extents to QEMU's flags.
// SPDX-License-Identifier: Apache-2.0
#include "operations/block_status.hpp"

#include <algorithm>

#include "base/try.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg {

namespace {

// A run never goes on into the next part of an L2 table that QEMU has in one piece in its cache. Only that it
// ends there shows: what ends earlier does not reach the end of the disk.
constexpr std::uint64_t table_piece_bytes = 64 * KiB;

GuestOffset table_piece_end(const Image& layer, GuestOffset at) {
    const auto* qcow2 = dynamic_cast<const qcow2::Qcow2*>(&layer.format());
    if (qcow2 == nullptr) return GuestOffset(layer.size());
    const qcow2::Geometry& geometry = qcow2->geometry();
    const std::uint64_t entries =
        std::min(geometry.cluster_bytes(), table_piece_bytes) / geometry.l2_entry_bytes();
    const std::uint64_t reach = entries * geometry.cluster_bytes();
    return GuestOffset(at.bytes - at.bytes % reach + reach);
}

// Where the run ends, seen from the topmost image down to the one that says what is there.
GuestOffset run_end(const Image& top, const Extent& extent) {
    GuestOffset end = extent.range.end();
    const Image* layer = &top;
    for (unsigned depth = 0; depth <= extent.depth; ++depth, layer = layer->backing())
        end = std::min(end, table_piece_end(*layer, extent.range.start));
    return end;
}

// Does the run of the topmost image alone, which may be longer, reach its end?
Result<bool> top_reaches_end(const Image& top, const Extent& extent, GuestOffset end) {
    if (end != GuestOffset(top.size())) return false;
    if (extent.depth == 0) return true;
    const GuestRange rest = GuestRange::between(extent.range.start, end);
    const Mapping mapping = TRY(top.format().map(rest));
    return mapping.range.end() == end;
}

}  // namespace

Result<StatusRun> block_status(const Image& top, ExtentWalk& walk, GuestOffset at) {
    const FileExtent found = TRY(walk.at(GuestRange::between(at, GuestOffset(top.size()))));
    const Extent& extent = found.extent;
    const Image& layer = layer_of(top, extent);
    StatusRun run;
    run.range = GuestRange::between(at, run_end(top, extent));
    BlockStatus& status = run.status;
    status.data = extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed;
    status.zero = found.reads_as_zeroes();
    status.has_place = extent.host.has_value() && extent.kind != ExtentKind::compressed;
    // what lies past the end of a shorter backing image counts as said by that image
    status.allocated = extent.kind != ExtentKind::unallocated || layer.backing() != nullptr;
    if (extent.kind == ExtentKind::data) status.sparse = TRY(walk.is_sparse(layer, extent.depth));
    status.at_end = TRY(top_reaches_end(top, extent, run.range.end()));
    // at the bottom of the chain, the end is that image's own
    if (!status.allocated && run.range.end() == GuestOffset(layer.size())) status.at_end = true;
    return run;
}

}  // namespace qimg
