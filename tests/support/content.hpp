// What an image holds for its users: the disk, its snapshots, its bitmaps; and whether a change that was cut
// left the old or the new of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmap_content.hpp"
#include "format/qcow2/snapshots.hpp"
#include "operations/snapshot_view.hpp"
#include "qimg/image.hpp"

namespace qimg::test {

struct BitmapView {
    bool in_use = false;
    bool recording = false;
    std::vector<bool> dirty_sectors;  // none when it is in use
    friend bool operator==(const BitmapView&, const BitmapView&) = default;
};

struct Content {
    Bytes disk;
    std::map<std::string, Bytes> snapshots;  // by id and name, without the backing image
    std::map<std::string, BitmapView> bitmaps;
    unsigned version = 0;
    unsigned refcount_bits = 0;
    Bytes pin;
    friend bool operator==(const Content&, const Content&) = default;
};

// Opens the image for reading, with or without what stands below it.
using OpenImage = std::function<Result<std::unique_ptr<Image>>(bool with_backing)>;

inline Result<Bytes> read_whole_disk(const Image& image, std::uint64_t bytes) {
    Bytes disk(bytes);
    TRY(image.read(GuestOffset(0), disk));
    return disk;
}

inline Result<BitmapView> read_bitmap_view(qcow2::Qcow2& format, const qcow2::Bitmap& bitmap) {
    BitmapView view{bitmap.info.in_use, bitmap.info.automatic, {}};
    if (view.in_use) return view;
    view.dirty_sectors.resize(divide_up(format.size(), sector_bytes));
    const auto content = TRY(qcow2::BitmapContent::load(format.storage(), format.header(), bitmap));
    TRY(content.for_each_run([&](GuestRange run) -> Result<void> {
        for (std::uint64_t at = run.start.bytes; at < run.end().bytes; at += sector_bytes)
            view.dirty_sectors[at / sector_bytes] = true;
        return {};
    }));
    return view;
}

inline Result<Content> read_content(const OpenImage& open) {
    const auto image = TRY(open(true));
    Content content;
    content.disk = TRY(read_whole_disk(*image, image->size()));
    auto* format = dynamic_cast<qcow2::Qcow2*>(&image->format());
    if (format == nullptr) return content;
    content.version = format->header().version;
    content.refcount_bits = format->geometry().refcount_bits();
    if (const auto* pin = format->header().find(qcow2::disk::extension_pin)) content.pin = pin->data;
    const auto snapshots = TRY(qcow2::read_snapshots(format->storage(), format->header()));
    for (const qcow2::Snapshot& snapshot : snapshots) {
        const auto view = TRY(open(false));
        TRY(show_snapshot(*view, SnapshotChoice{snapshot.info.id, {}, false}));
        content.snapshots[snapshot.info.id + " " + snapshot.info.name] =
            TRY(read_whole_disk(*view, snapshot.info.disk_bytes));
    }
    const auto directory = TRY(qcow2::read_bitmaps(format->storage(), format->header()));
    for (const qcow2::Bitmap& bitmap : directory.bitmaps) {
        content.bitmaps[bitmap.info.name] = TRY(read_bitmap_view(*format, bitmap));
    }
    return content;
}

inline Result<Content> read_content(Opener& files, const std::string& name, bool with_backing = true) {
    return read_content([&](bool backed) {
        OpenOptions options;
        options.with_backing = backed && with_backing;
        return Image::open(name, options, files);
    });
}

// How much of a change may be seen when it is cut.
enum class Outcome {
    whole,     // all of it or nothing
    bytewise,  // each byte is old or new; what lies past the end of the shorter disk counts as zeroes
};

// Sectors that changed, or were dirty before, and that a bitmap in use does not tell.
inline std::string forgotten_by_bitmap(const BitmapView& before, const BitmapView& now, const Bytes& old_disk,
                                       const Bytes& disk) {
    for (std::size_t i = 0; i < std::min(before.dirty_sectors.size(), now.dirty_sectors.size()); ++i) {
        const std::size_t at = i * sector_bytes;
        if (at >= old_disk.size() || at >= disk.size()) break;
        const auto sector = [&](const Bytes& bytes) {
            return std::span(bytes).subspan(at, std::min<std::size_t>(sector_bytes, bytes.size() - at));
        };
        const bool changed = !std::ranges::equal(sector(old_disk), sector(disk));
        if ((changed || before.dirty_sectors[i]) && !now.dirty_sectors[i])
            return fmt::format("sector {} changed, and the bitmap does not say so", i);
    }
    return {};
}

// A bitmap is what it was or is to be, or says itself that it is of no use. While data changes, one that
// records may know more than it must, but never less.
inline std::string lost_of_bitmaps(const Content& now, const Content& before, const Content& after,
                                   Outcome outcome) {
    if (now.bitmaps == before.bitmaps || now.bitmaps == after.bitmaps) return {};
    if (outcome == Outcome::whole) return "the bitmaps are neither old nor new";
    if (now.bitmaps.size() != before.bitmaps.size()) return "a bitmap is gone";
    for (const auto& [name, view] : before.bitmaps) {
        const auto found = now.bitmaps.find(name);
        if (found == now.bitmaps.end()) return "bitmap " + name + " is gone";
        const auto wanted = after.bitmaps.find(name);
        if (wanted != after.bitmaps.end() && found->second == wanted->second) continue;
        if (found->second.recording != view.recording) return "bitmap " + name + ": recording has changed";
        if (!view.recording && found->second != view) return "bitmap " + name + " has changed";
        if (!view.recording || view.in_use || found->second.in_use) continue;
        const std::string forgotten = forgotten_by_bitmap(view, found->second, before.disk, now.disk);
        if (!forgotten.empty()) return "bitmap " + name + ": " + forgotten;
    }
    return {};
}

inline std::string lost_of_disk(const Bytes& now, const Bytes& before, const Bytes& after, Outcome outcome) {
    if (now == before || now == after) return {};
    if (outcome == Outcome::whole) return "the disk is neither old nor new";
    if (now.size() != before.size() && now.size() != after.size()) return "the disk has another size";
    const auto at = [](const Bytes& disk, std::size_t i) { return i < disk.size() ? disk[i] : std::byte{0}; };
    for (std::size_t i = 0; i < now.size(); ++i) {
        if (now[i] != at(before, i) && now[i] != at(after, i))
            return fmt::format("byte {} of the disk is neither old nor new", i);
    }
    return {};
}

// What a user misses in `now`; empty when it is nothing.
inline std::string lost(const Content& now, const Content& before, const Content& after, Outcome outcome) {
    if (now.version != before.version && now.version != after.version) return "another version";
    if (now.refcount_bits != before.refcount_bits && now.refcount_bits != after.refcount_bits)
        return "another width of refcounts";
    // a commit takes the pin away until it ends
    if (!now.pin.empty() && now.pin != before.pin && now.pin != after.pin) return "another pin";
    if (now.snapshots != before.snapshots && now.snapshots != after.snapshots)
        return "the snapshots are neither old nor new";
    const std::string of_disk = lost_of_disk(now.disk, before.disk, after.disk, outcome);
    if (!of_disk.empty()) return of_disk;
    const bool both_change = before.bitmaps != after.bitmaps && before.disk != after.disk;
    if (outcome == Outcome::whole && both_change &&
        (now.bitmaps == before.bitmaps) != (now.disk == before.disk))
        return "the disk and its bitmaps are of different times";
    return lost_of_bitmaps(now, before, after, outcome);
}

}  // namespace qimg::test
