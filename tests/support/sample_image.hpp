// Images and the changes that the crash and fault tests make to them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "format/qcow2/amend.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/empty.hpp"
#include "format/qcow2/pin.hpp"
#include "format/qcow2/resize.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "format/raw/raw.hpp"
#include "qimg/image.hpp"
#include "support/recording_storage.hpp"

namespace qimg::test {

inline Bytes pattern(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    Bytes out(count);
    for (std::byte& b : out)
        b = static_cast<std::byte>(random());
    return out;
}

// What an overlay's header names; it has no zeroes that could be mistaken for its own.
inline std::unique_ptr<Image> backing_image() {
    auto storage = memory_storage();
    REQUIRE(storage->write(HostOffset(0), pattern(160 * KiB, 9)));
    auto format = raw::open(std::move(storage));
    REQUIRE(format);
    return std::make_unique<Image>("base", std::move(*format), nullptr);
}

// What stands below an image that names a backing file.
enum class Below { something, nothing };

inline std::unique_ptr<Image> open_image(Storage& file, bool writable, Below below = Below::something) {
    qcow2::Qcow2Options options;
    options.writable = writable;
    auto format = qcow2::Qcow2::open(borrow_storage(file), options);
    REQUIRE_MESSAGE(format, (format ? "" : format.error().message));
    std::unique_ptr<Image> backing;
    if ((*format)->backing_file() && below == Below::something) backing = backing_image();
    return std::make_unique<Image>("image", std::move(*format), std::move(backing));
}

inline qcow2::Qcow2& as_qcow2(Image& image) {
    return dynamic_cast<qcow2::Qcow2&>(image.format());
}

struct BitmapView {
    bool in_use = false;
    bool recording = false;
    std::vector<bool> dirty_sectors;  // none when it is in use
    friend bool operator==(const BitmapView&, const BitmapView&) = default;
};

// What guests see, now and in each snapshot, what bitmaps say of it, and what kind of image it is in.
struct Content {
    Bytes disk;
    std::vector<Bytes> snapshots;
    std::map<std::string, BitmapView> bitmaps;
    unsigned version = 0;
    unsigned refcount_bits = 0;
    Bytes pin;
    friend bool operator==(const Content&, const Content&) = default;
};

inline Bytes read_disk(const Image& image) {
    Bytes disk(image.size());
    const auto read = image.read(GuestOffset(0), disk);
    REQUIRE_MESSAGE(read, (read ? "" : read.error().message));
    return disk;
}

inline std::map<std::string, BitmapView> read_bitmap_views(Storage& file, const qcow2::Header& header) {
    std::map<std::string, BitmapView> views;
    const auto directory = qcow2::read_bitmaps(file, header);
    REQUIRE_MESSAGE(directory, (directory ? "" : directory.error().message));
    for (const qcow2::Bitmap& bitmap : directory->bitmaps) {
        BitmapView view{bitmap.info.in_use, bitmap.info.automatic, {}};
        if (!view.in_use) {
            view.dirty_sectors.resize(divide_up(header.size, sector_bytes));
            const auto content = qcow2::BitmapContent::load(file, header, bitmap);
            REQUIRE_MESSAGE(content, (content ? "" : content.error().message));
            REQUIRE(content->for_each_run([&](GuestRange run) -> Result<void> {
                for (std::uint64_t at = run.start.bytes; at < run.end().bytes; at += sector_bytes)
                    view.dirty_sectors[at / sector_bytes] = true;
                return {};
            }));
        }
        views.emplace(bitmap.info.name, std::move(view));
    }
    return views;
}

// What guests would see after going back to each snapshot.
inline std::vector<Bytes> read_snapshot_disks(Storage& file, Below below) {
    std::vector<Bytes> disks;
    const auto image = open_image(file, false, below);
    const auto snapshots = qcow2::read_snapshots(file, as_qcow2(*image).header());
    REQUIRE(snapshots);
    for (const qcow2::Snapshot& snapshot : *snapshots) {
        const auto view = open_image(file, false, below);
        const auto l1 =
            qcow2::read_l1_table(file, as_qcow2(*view).geometry(), snapshot.l1_table, snapshot.l1_entries);
        as_qcow2(*view).replace_l1(snapshot.l1_table, l1.value());
        as_qcow2(*view).header().size = snapshot.info.disk_bytes;
        disks.push_back(read_disk(*view));
    }
    return disks;
}

inline Content read_content(Storage& file) {
    Content content;
    const auto image = open_image(file, false);
    content.disk = read_disk(*image);
    content.version = as_qcow2(*image).header().version;
    content.refcount_bits = as_qcow2(*image).geometry().refcount_bits();
    if (const auto* pin = as_qcow2(*image).header().find(qcow2::disk::extension_pin)) content.pin = pin->data;
    content.snapshots = read_snapshot_disks(file, Below::something);
    content.bitmaps = read_bitmap_views(file, as_qcow2(*image).header());
    return content;
}

struct Change {
    std::string name;
    bool bytewise;  // each sector old or new; otherwise the whole disk is
    std::function<Result<void>(Image&)> run;
    bool with_bitmaps = false;  // of an image that has some
};

// To the other version, with a width of refcounts that it can have.
inline Result<void> change_version(Image& image) {
    qcow2::Qcow2& format = as_qcow2(image);
    const bool upgrades = format.header().version < 3;
    Qcow2Amendment wanted;
    wanted.version = upgrades ? 3 : 2;
    wanted.refcount_bits = upgrades ? 8 : 16;
    const auto allowed = qcow2::check_amendment(format, wanted);
    return allowed ? qcow2::amend(format, wanted, no_progress()) : allowed;
}

inline Result<void> change_refcount_width(Image& image) {
    qcow2::Qcow2& format = as_qcow2(image);
    Qcow2Amendment wanted;
    wanted.refcount_bits = format.geometry().refcount_bits() < 16 ? 64 : 2;
    return qcow2::amend(format, wanted, no_progress());
}

inline Result<void> run_writes(Image& image) {
    for (unsigned i = 0; i < 12; ++i) {
        const auto done = image.write(GuestOffset(i * 7001), pattern(3000, 100 + i));
        if (!done) return done;
        if (i % 5 == 4) {
            const auto flushed = image.flush();
            if (!flushed) return flushed;
        }
    }
    return image.flush();
}

inline Result<void> run_zeroes_and_discards(Image& image) {
    const auto zeroed = image.write_zeroes(GuestRange(GuestOffset(1000), 30000));
    if (!zeroed) return zeroed;
    const auto discarded = image.discard(GuestRange(GuestOffset(40960), 40960));
    return discarded ? image.flush() : discarded;
}

inline Result<void> run_grow(Image& image) {
    return qcow2::grow(as_qcow2(image), 400 * KiB, [] { return Result<void>(); });
}

inline Result<void> run_shrink(Image& image) {
    return qcow2::shrink(as_qcow2(image), 50 * KiB, [] { return Result<void>(); });
}

// The longest pin.
inline Result<void> run_pin(Image& image) {
    qcow2::Pin pin{"qcow2", 1, 2, FileTime{3, 4}, {}, Digest{}};
    as_qcow2(image).header().set_extension(qcow2::disk::extension_pin, qcow2::serialize_pin(pin));
    return as_qcow2(image).rewrite_header();
}

// Calls steps until one fails, and stores what they did.
inline Result<void> edit_bitmaps(
    Image& image, const std::vector<std::function<Result<void>(qcow2::BitmapEditor&)>>& steps) {
    auto editor = qcow2::BitmapEditor::open(as_qcow2(image));
    if (!editor) return std::unexpected<Error>(editor.error());
    for (const auto& step : steps) {
        const auto done = step(*editor);
        if (!done) return done;
    }
    return editor->store();
}

inline std::vector<Change> bitmap_changes() {
    using Editor = qcow2::BitmapEditor;
    return {
        {"writes, recorded", true, run_writes, true},
        {"zeroes and discards, recorded", true, run_zeroes_and_discards, true},
        {"grow with bitmaps", false, run_grow, true},
        {"shrink with bitmaps", false, run_shrink, true},
        {"bitmap edits", false,
         [](Image& image) {
             return edit_bitmaps(image, {[](Editor& e) { return e.add("new", 1024, true); },
                                         [](Editor& e) { return e.merge("new", e, "fine"); },
                                         [](Editor& e) { return e.clear("fine"); },
                                         [](Editor& e) { return e.set_recording("still", true); },
                                         [](Editor& e) { return e.remove("coarse"); }});
         },
         true},
        {"all bitmaps removed", false,
         [](Image& image) { return qcow2::remove_all_bitmaps(as_qcow2(image)); }, true},
        {"first bitmap", false,
         [](Image& image) {
             return edit_bitmaps(image, {[](Editor& e) { return e.add("first", 512, true); }});
         }},
    };
}

inline std::vector<Change> changes() {
    std::vector<Change> all{
        {"writes", true, run_writes},
        {"zeroes and discards", true, run_zeroes_and_discards},
        {"writes into freed clusters", true,
         [](Image& image) -> Result<void> {
             // what the first part frees is what the second part finds free
             const auto discarded = image.discard(GuestRange(GuestOffset(0), 65536));
             if (!discarded) return discarded;
             const auto flushed = image.flush();
             if (!flushed) return flushed;
             const auto written = image.write(GuestOffset(81920), pattern(30000, 7));
             return written ? image.flush() : written;
         }},
        {"grow", false, run_grow},
        {"shrink", false, run_shrink},
        {"snapshot", false, [](Image& image) { return qcow2::create_snapshot(as_qcow2(image), "new", {}); }},
        {"apply", false, [](Image& image) { return qcow2::apply_snapshot(as_qcow2(image), "first"); }},
        {"empty", true, [](Image& image) { return qcow2::empty(as_qcow2(image)); }},
        {"delete", false, [](Image& image) { return qcow2::delete_snapshot(as_qcow2(image), "first"); }},
        {"pin", false, run_pin},
        {"version", false, change_version},
        {"refcount width", false, change_refcount_width},
    };
    for (Change& change : bitmap_changes())
        all.push_back(std::move(change));
    return all;
}

inline std::vector<Qcow2Layout> layouts() {
    Qcow2Layout small;
    small.cluster_bytes = 512;
    Qcow2Layout version_2 = small;
    version_2.version = 2;
    Qcow2Layout wide = small;
    wide.refcount_bits = 64;
    Qcow2Layout narrow = small;
    narrow.cluster_bytes = 1024;
    narrow.refcount_bits = 4;
    Qcow2Layout subclusters = small;
    subclusters.cluster_bytes = 16384;
    subclusters.extended_l2 = true;
    Qcow2Layout overlay = small;
    overlay.backing_file = "base";
    overlay.backing_format = "raw";
    return {small, version_2, wide, narrow, subclusters, overlay};
}

// A disk with data and zeroes, a snapshot, and changes since.
inline Bytes starting_image(const Qcow2Layout& layout) {
    RecordingStorage file;
    REQUIRE(qcow2::create_empty(file, layout, 160 * KiB));
    const auto image = open_image(file, true);
    REQUIRE(image->write(GuestOffset(0), pattern(90000, 1)));
    REQUIRE(image->write_zeroes(GuestRange(GuestOffset(10000), 9000)));
    REQUIRE(image->flush());
    REQUIRE(qcow2::create_snapshot(as_qcow2(*image), "first", {}));
    REQUIRE(image->write(GuestOffset(20000), pattern(60000, 2)));
    REQUIRE(image->write_zeroes(GuestRange(GuestOffset(30000), 9000), true));
    REQUIRE(image->flush());
    return file.content();
}

// The same with bitmaps, of which one records no changes.
inline Bytes starting_image_with_bitmaps(const Qcow2Layout& layout) {
    using Editor = qcow2::BitmapEditor;
    RecordingStorage file(starting_image(layout));
    const auto image = open_image(file, true);
    REQUIRE(edit_bitmaps(*image, {[](Editor& e) { return e.add("fine", 512, true); },
                                  [](Editor& e) { return e.add("coarse", 8192, true); },
                                  [](Editor& e) { return e.add("still", 2048, true); }}));
    REQUIRE(image->write(GuestOffset(100000), pattern(5000, 3)));
    REQUIRE(edit_bitmaps(*image, {[](Editor& e) { return e.set_recording("still", false); }}));
    return file.content();
}

// The image that a change is made to.
inline Bytes starting_image_for(const Change& change, const Qcow2Layout& layout) {
    return change.with_bitmaps ? starting_image_with_bitmaps(layout) : starting_image(layout);
}

inline bool can_run(const Change& change, const Qcow2Layout& layout) {
    const bool needs_version_3 = change.with_bitmaps || change.name == "first bitmap" ||
                                 change.name == "grow" || change.name == "shrink" ||
                                 change.name == "refcount width";
    if (layout.version < 3) return !needs_version_3;
    return !layout.extended_l2 || change.name != "version";
}

// A bitmap is what it was or is to be, or says itself that it is of no use. While data changes, one that
// records may know more than it must, but never less.
inline void check_bitmaps(const Content& now, const Content& before, const Content& after, bool bytewise) {
    if (!bytewise) {
        CHECK((now.bitmaps == before.bitmaps || now.bitmaps == after.bitmaps));
        const bool both_change = before.bitmaps != after.bitmaps && before.disk != after.disk;
        if (both_change) CHECK((now.bitmaps == before.bitmaps) == (now.disk == before.disk));
        return;
    }
    CHECK(now.bitmaps.size() == before.bitmaps.size());
    for (const auto& [name, view] : before.bitmaps) {
        CAPTURE(name);
        const BitmapView& found = now.bitmaps.at(name);
        CHECK(found.recording == view.recording);
        if (!view.recording) CHECK(found == view);
        if (!view.recording || found.in_use) continue;
        for (std::size_t i = 0; i < view.dirty_sectors.size(); ++i) {
            const auto sector = [&](const Bytes& disk) {
                return std::span(disk).subspan(i * sector_bytes, sector_bytes);
            };
            const bool changed = !std::ranges::equal(sector(before.disk), sector(now.disk));
            if ((changed || view.dirty_sectors[i]) && !found.dirty_sectors[i])
                FAIL("sector ", i, " changed, and the bitmap does not say so");
        }
    }
}

// Whole and readable, with nothing but the old or the new content; a repair loses none of it.
inline void check_state(const Bytes& file, const Content& before, const Content& after, bool bytewise) {
    RecordingStorage storage(file);
    const Content now = read_content(storage);
    CHECK((now.version == before.version || now.version == after.version));
    CHECK((now.refcount_bits == before.refcount_bits || now.refcount_bits == after.refcount_bits));
    CHECK((now.pin == before.pin || now.pin == after.pin));
    check_bitmaps(now, before, after, bytewise);
    CHECK((now.snapshots == before.snapshots || now.snapshots == after.snapshots));
    if (!bytewise) CHECK((now.disk == before.disk || now.disk == after.disk));
    if (bytewise) {
        REQUIRE(now.disk.size() == after.disk.size());
        for (std::size_t i = 0; i < now.disk.size(); ++i) {
            if (now.disk[i] != before.disk[i] && now.disk[i] != after.disk[i]) {
                FAIL("byte ", i, " is neither old nor new");
            }
        }
    }
    {
        const auto image = open_image(storage, true);
        REQUIRE(qcow2::check_image(as_qcow2(*image), Repair::all, {}, no_progress()));
    }
    CHECK(read_content(storage) == now);
    const auto image = open_image(storage, false);
    const auto report = qcow2::check_image(as_qcow2(*image), Repair::none, {}, no_progress());
    REQUIRE(report);
    CHECK(report->corruptions == 0);
    CHECK(report->leaks == 0);
}

}  // namespace qimg::test
