// Where each run of guest bytes comes from, with neighbours joined.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/map.hpp"

#include <algorithm>
#include <vector>

#include "base/checked.hpp"
#include "base/try.hpp"
#include "format/format.hpp"

namespace qimg {

namespace {

const Image& layer_at(const Image& top, unsigned depth) {
    const Image* image = &top;
    for (; depth > 0; --depth)
        image = image->backing();
    return *image;
}

MapEntry entry_for(const Image& top, const Extent& extent) {
    MapEntry entry;
    entry.start = extent.range.start.bytes;
    entry.length = extent.range.length;
    entry.depth = extent.depth;
    entry.present = extent.kind != ExtentKind::unallocated;
    entry.zero = extent.kind == ExtentKind::zeroes || extent.kind == ExtentKind::unallocated;
    entry.data = extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed;
    entry.compressed = extent.kind == ExtentKind::compressed;
    if (extent.host && !entry.compressed) {
        entry.offset = extent.host->bytes;
        entry.filename = layer_at(top, extent.depth).format().data_storage().name();
    }
    return entry;
}

// Whether files have far less space than their length says, as after preallocation=metadata. Only then are
// clusters that hold nothing worth looking for; the margin is where qemu-img begins to.
class SparseLayers {
  public:
    Result<bool> at(const Image& layer, unsigned depth) {
        if (known_.size() <= depth) known_.resize(depth + 1);
        if (known_[depth]) return *known_[depth];
        const bool sparse = TRY(is_sparse(layer.format()));
        known_[depth] = sparse;
        return sparse;
    }

  private:
    static Result<bool> is_sparse(const Format& format) {
        if (format.name() == "raw") return false;  // tells its holes itself
        const std::uint64_t length = TRY(format.storage().size());
        const std::uint64_t space = TRY(format.storage().allocated_bytes());
        const std::uint64_t clusters = divide_up(length, format.cluster_bytes());
        const std::uint64_t backed = space / format.cluster_bytes();
        return clusters >= std::max(backed + backed / 9, backed + 2);
    }

    std::vector<std::optional<bool>> known_;
};

// Cuts an extent of data to the part that is all in a hole of its file, or all not; true for a hole.
Result<bool> cut_at_hole(const Image& top, Extent& extent, SparseLayers& layers) {
    if (extent.kind != ExtentKind::data || !extent.host) return false;
    const Image& layer = layer_at(top, extent.depth);
    const bool is_sparse = TRY(layers.at(layer, extent.depth));
    if (!is_sparse) return false;
    const StorageExtent run = TRY(layer.format().data_storage().extent(*extent.host));
    if (run.length == 0) return false;  // past the end of a file that was cut: the tables call it data
    extent.range.length = std::min(extent.range.length, run.length);
    return !run.data;
}

bool continues(const MapEntry& last, const MapEntry& next) {
    const bool same_kind = last.depth == next.depth && last.present == next.present &&
                           last.zero == next.zero && last.data == next.data &&
                           last.compressed == next.compressed;
    if (!same_kind || last.offset.has_value() != next.offset.has_value()) return false;
    return !last.offset || (*last.offset + last.length == *next.offset && last.filename == next.filename);
}

}  // namespace

Result<void> map(const MapOptions& options, const std::function<Result<void>(const MapEntry&)>& on_entry,
                 Opener& opener) {
    const auto image = TRY(Image::open(options.path, options.open, opener));
    const std::uint64_t start = std::min(options.start, image->size());
    std::uint64_t end = image->size();
    if (options.max_length) end = std::min(end, checked_add(start, *options.max_length).value_or(end));

    SparseLayers layers;
    std::optional<MapEntry> last;
    for (GuestOffset at(start); at < GuestOffset(end);) {
        Extent extent = TRY(image->extent(GuestRange::between(at, GuestOffset(end))));
        const bool is_hole = TRY(cut_at_hole(*image, extent, layers));
        MapEntry entry = entry_for(*image, extent);
        if (is_hole) entry.zero = true;
        if (last && continues(*last, entry)) {
            last->length += entry.length;
        } else {
            if (last) TRY(on_entry(*last));
            last = std::move(entry);
        }
        at = extent.range.end();
    }
    return last ? on_entry(*last) : Result<void>();
}

}  // namespace qimg
