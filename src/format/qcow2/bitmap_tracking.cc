// Keeping bitmaps right while guest data changes: those that record changes are marked as in use before the
// first one, and brought up to date, without the mark, by the next flush. In between the file calls them in
// use, so nobody trusts them after a crash.
// SPDX-License-Identifier: Apache-2.0
#include "base/endian.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg::qcow2 {

Result<void> Qcow2::start_tracking() {
    const BitmapDirectory directory = TRY(read_bitmaps(*storage_, header_));
    tracking_ = BitmapTracking();
    tracking_.disk = GuestRange(GuestOffset(0), header_.size);
    std::uint64_t unit = 0;
    for (const Bitmap& bitmap : directory.bitmaps) {
        if (!bitmap.records_changes()) continue;
        const std::uint64_t granularity = bitmap.info.granularity_bytes;
        unit = unit == 0 ? granularity : std::min(unit, granularity);
    }
    tracking_.is_on = unit != 0;
    if (tracking_.is_on) tracking_.changed = ChangedRanges(unit);
    return {};
}

Result<void> Qcow2::track(GuestRange range) {
    range = intersection(range, tracking_.disk);
    if (!tracking_.is_on || keeps_bitmaps_ || range.empty()) return {};
    if (tracking_.changed.empty()) TRY(mark_bitmaps_in_use());
    tracking_.changed.add(range);
    return {};
}

Result<void> Qcow2::mark_bitmaps_in_use() {
    const BitmapDirectory directory = TRY(read_bitmaps(*storage_, header_));
    for (const Bitmap& bitmap : directory.bitmaps) {
        if (!bitmap.records_changes()) continue;
        const be32 flags = bitmap.flags | disk::bitmap_in_use;
        TRY(storage_->write(bitmap.directory_entry + offsetof(disk::BitmapEntry, flags),
                            std::as_bytes(std::span(&flags, 1))));
        tracking_.marked.push_back(bitmap.directory_entry);
    }
    return barrier();
}

Result<void> Qcow2::store_tracked() {
    if (tracking_.changed.empty()) return {};
    // whatever fails from here on, the bitmaps stay marked: they are not right any more
    const std::vector<GuestRange> changed = tracking_.changed.take();
    const std::vector<HostOffset> marked = std::exchange(tracking_.marked, {});
    BitmapEditor editor = TRY(BitmapEditor::open(*this));
    for (const HostOffset directory_entry : marked)
        TRY(editor.catch_up(directory_entry, changed));
    return editor.store();
}

}  // namespace qimg::qcow2
