// Images and the changes that the crash and fault tests make to them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/resize.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "qimg/image.hpp"
#include "support/recording_storage.hpp"

namespace qimg::test {

inline std::unique_ptr<Image> open_image(Storage& file, bool writable) {
    qcow2::Qcow2Options options;
    options.writable = writable;
    auto format = qcow2::Qcow2::open(borrow_storage(file), options);
    REQUIRE_MESSAGE(format, (format ? "" : format.error().message));
    return std::make_unique<Image>("image", std::move(*format), nullptr);
}

inline qcow2::Qcow2& as_qcow2(Image& image) {
    return dynamic_cast<qcow2::Qcow2&>(image.format());
}

inline Bytes pattern(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    Bytes out(count);
    for (std::byte& b : out)
        b = static_cast<std::byte>(random());
    return out;
}

// What guests see, now and in each snapshot.
struct Content {
    Bytes disk;
    std::vector<Bytes> snapshots;
    friend bool operator==(const Content&, const Content&) = default;
};

inline Bytes read_disk(const Image& image) {
    Bytes disk(image.size());
    const auto read = image.read(GuestOffset(0), disk);
    REQUIRE_MESSAGE(read, (read ? "" : read.error().message));
    return disk;
}

inline Content read_content(Storage& file) {
    Content content;
    const auto image = open_image(file, false);
    content.disk = read_disk(*image);
    const auto snapshots = qcow2::read_snapshots(file, as_qcow2(*image).header());
    REQUIRE(snapshots);
    for (const qcow2::Snapshot& snapshot : *snapshots) {
        const auto view = open_image(file, false);
        const auto l1 =
            qcow2::read_l1_table(file, as_qcow2(*view).geometry(), snapshot.l1_table, snapshot.l1_entries);
        as_qcow2(*view).replace_l1(snapshot.l1_table, l1.value());
        as_qcow2(*view).header().size = snapshot.info.disk_bytes;
        content.snapshots.push_back(read_disk(*view));
    }
    return content;
}

struct Change {
    std::string name;
    bool bytewise;  // each sector old or new; otherwise the whole disk is
    std::function<Result<void>(Image&)> run;
};

inline std::vector<Change> changes() {
    return {
        {"writes", true,
         [](Image& image) -> Result<void> {
             for (unsigned i = 0; i < 12; ++i) {
                 const auto done = image.write(GuestOffset(i * 7001), pattern(3000, 100 + i));
                 if (!done) return done;
                 if (i % 5 == 4) {
                     const auto flushed = image.flush();
                     if (!flushed) return flushed;
                 }
             }
             return image.flush();
         }},
        {"zeroes and discards", true,
         [](Image& image) -> Result<void> {
             const auto zeroed = image.write_zeroes(GuestRange(GuestOffset(1000), 30000));
             if (!zeroed) return zeroed;
             const auto discarded = image.discard(GuestRange(GuestOffset(40960), 40960));
             return discarded ? image.flush() : discarded;
         }},
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
        {"grow", false,
         [](Image& image) { return qcow2::grow(as_qcow2(image), 400 * KiB, [] { return Result<void>(); }); }},
        {"shrink", false,
         [](Image& image) {
             return qcow2::shrink(as_qcow2(image), 50 * KiB, [] { return Result<void>(); });
         }},
        {"snapshot", false, [](Image& image) { return qcow2::create_snapshot(as_qcow2(image), "new", {}); }},
        {"apply", false, [](Image& image) { return qcow2::apply_snapshot(as_qcow2(image), "first"); }},
        {"delete", false, [](Image& image) { return qcow2::delete_snapshot(as_qcow2(image), "first"); }},
    };
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
    return {small, version_2, wide, narrow, subclusters};
}

// A disk with data, a snapshot, and changes since.
inline Bytes starting_image(const Qcow2Layout& layout) {
    RecordingStorage file;
    REQUIRE(qcow2::create_empty(file, layout, 160 * KiB));
    const auto image = open_image(file, true);
    REQUIRE(image->write(GuestOffset(0), pattern(90000, 1)));
    REQUIRE(image->flush());
    REQUIRE(qcow2::create_snapshot(as_qcow2(*image), "first", {}));
    REQUIRE(image->write(GuestOffset(20000), pattern(60000, 2)));
    REQUIRE(image->flush());
    return file.content();
}

inline bool can_run(const Change& change, const Qcow2Layout& layout) {
    return layout.version > 2 || (change.name != "grow" && change.name != "shrink");
}

// Whole and readable, with nothing but the old or the new content; a repair loses none of it.
inline void check_state(const Bytes& file, const Content& before, const Content& after, bool bytewise) {
    RecordingStorage storage(file);
    const Content now = read_content(storage);
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
