// Where each run of guest bytes comes from, with neighbours joined.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/map.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "operations/extent_walk.hpp"

namespace qimg {

namespace {

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
        entry.filename = layer_of(top, extent).format().data_storage().name();
    }
    return entry;
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

    ExtentWalk walk(*image);
    std::optional<MapEntry> last;
    for (GuestOffset at(start); at < GuestOffset(end);) {
        const FileExtent found = TRY(walk.at(GuestRange::between(at, GuestOffset(end))));
        MapEntry entry = entry_for(*image, found.extent);
        if (found.is_hole) entry.zero = true;
        if (last && continues(*last, entry)) {
            last->length += entry.length;
        } else {
            if (last) TRY(on_entry(*last));
            last = std::move(entry);
        }
        at = found.extent.range.end();
    }
    return last ? on_entry(*last) : Result<void>();
}

}  // namespace qimg
