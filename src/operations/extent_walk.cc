// Asking the file system about the space behind clusters.
// SPDX-License-Identifier: Apache-2.0
#include "operations/extent_walk.hpp"

#include <algorithm>

#include "base/try.hpp"
#include "format/format.hpp"

namespace qimg {

namespace {

// The margin is where qemu-img begins to look for holes.
Result<bool> lacks_space(const Format& format, Holes holes) {
    if (format.name() != "qcow2")
        return false;  // raw tells its holes itself, in vmdk QEMU does not look for any
    const bool has_data_file = &format.storage() != &format.data_storage();
    if (has_data_file && holes == Holes::as_told_by_qemu) return false;
    const std::uint64_t length = TRY(format.data_storage().size());
    const std::uint64_t space = TRY(format.data_storage().allocated_bytes());
    const std::uint64_t clusters = divide_up(length, format.cluster_bytes());
    const std::uint64_t backed = space / format.cluster_bytes();
    return clusters >= std::max(backed + backed / 9, backed + 2);
}

}  // namespace

const Image& layer_of(const Image& top, const Extent& extent) {
    const Image* image = &top;
    for (unsigned depth = extent.depth; depth > 0; --depth)
        image = image->backing();
    return *image;
}

Result<bool> ExtentWalk::is_sparse(const Image& layer, unsigned depth) {
    if (sparse_.size() <= depth) sparse_.resize(depth + 1);
    if (sparse_[depth]) return *sparse_[depth];
    const bool sparse = TRY(lacks_space(layer.format(), holes_));
    sparse_[depth] = sparse;
    return sparse;
}

Result<FileExtent> ExtentWalk::at(GuestRange range) {
    FileExtent found;
    found.extent = TRY(top_.extent(range));
    if (found.extent.kind != ExtentKind::data || !found.extent.host) return found;
    const Image& layer = layer_of(top_, found.extent);
    const bool sparse = TRY(is_sparse(layer, found.extent.depth));
    if (!sparse) return found;
    const StorageExtent run = TRY(layer.format().data_storage().extent(*found.extent.host));
    // past the end of a file that was cut the tables still call it data
    if (run.length == 0) return found;
    found.is_hole = !run.data;
    found.extent.range.length = std::min(found.extent.range.length, run.length);
    return found;
}

}  // namespace qimg
