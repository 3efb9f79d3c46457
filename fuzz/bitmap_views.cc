// Bitmaps sector by sector, whatever their granularity.
// SPDX-License-Identifier: Apache-2.0
#include "bitmap_views.hpp"

#include <algorithm>

#include "format/qcow2/bitmap_content.hpp"

namespace qimg::fuzz {

namespace {

bool differs(const DiskChange& disk, std::size_t sector) {
    const std::size_t start = sector * sector_bytes;
    const std::size_t end = std::min({start + sector_bytes, disk.before.size(), disk.after.size()});
    const auto part = [&](const Bytes& bytes) { return std::span(bytes).subspan(start, end - start); };
    return start < end && !std::ranges::equal(part(disk.before), part(disk.after));
}

bool forgets(const BitmapView& before, const BitmapView& after, const DiskChange& disk) {
    const std::size_t sectors = std::min(before.dirty_sectors.size(), after.dirty_sectors.size());
    for (std::size_t i = 0; i < sectors; ++i) {
        const bool must_tell = before.dirty_sectors[i] || (before.is_recording && differs(disk, i));
        if (must_tell && !after.dirty_sectors[i]) return true;
    }
    return false;
}

}  // namespace

BitmapViews believable_bitmaps(qcow2::Qcow2& image) {
    BitmapViews views;
    const auto directory = qcow2::read_bitmaps(image.storage(), image.header());
    if (!directory) return views;
    for (const qcow2::Bitmap& bitmap : directory->bitmaps) {
        if (bitmap.info.in_use) continue;
        const auto content = qcow2::BitmapContent::load(image.storage(), image.header(), bitmap);
        if (!content) continue;
        BitmapView view{bitmap.info.automatic, {}};
        view.dirty_sectors.resize(divide_up(image.size(), sector_bytes));
        const auto read = content->for_each_run([&](GuestRange run) -> Result<void> {
            for (std::uint64_t at = run.start.bytes; at < run.end().bytes; at += sector_bytes)
                view.dirty_sectors[at / sector_bytes] = true;
            return {};
        });
        if (read) views[bitmap.info.name] = std::move(view);
    }
    return views;
}

std::string forgetful_bitmap(const BitmapViews& before, const BitmapViews& after, const DiskChange& disk) {
    for (const auto& [name, view] : before) {
        const auto now = after.find(name);
        if (now == after.end() || forgets(view, now->second, disk)) return name.empty() ? "?" : name;
    }
    return {};
}

}  // namespace qimg::fuzz
