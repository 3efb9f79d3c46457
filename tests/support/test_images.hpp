// The images that the crash and fault tests change: every shape that the engine treats in a way of its own.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/endian.hpp"
#include "format/compression.hpp"
#include "operations/pin.hpp"
#include "support/recorded_folder.hpp"
#include "support/sample_image.hpp"

namespace qimg::test {

enum class Health {
    whole,
    dirty,    // the refcounts are wrong, and the header says so: whoever changes the image mends them first
    damaged,  // and the header does not say so
};

inline Qcow2Layout layout_of(std::uint64_t cluster_bytes, unsigned refcount_bits = 16, unsigned version = 3) {
    Qcow2Layout layout;
    layout.cluster_bytes = cluster_bytes;
    layout.refcount_bits = refcount_bits;
    layout.version = version;
    return layout;
}

// A folder with an image "top", and all that it stands on.
struct TestImage {
    std::string name;
    Folder files;
    std::vector<std::string> watched{"top"};  // whose content counts
    Health health = Health::whole;
    std::uint64_t scale = 1;  // disks and what is written to them are that many times as long
};

inline std::unique_ptr<Image> open_in(Opener& files, const std::string& name) {
    OpenOptions options;
    options.access = Access::read_write;
    auto image = Image::open(name, options, files);
    REQUIRE_MESSAGE(image, (image ? "" : image.error().message));
    return std::move(*image);
}

inline void change_in(Folder& folder, const std::string& name, const std::function<void(Image&)>& how) {
    RecordedFolder files(folder);
    {
        const auto image = open_in(files, name);
        how(*image);
        REQUIRE(image->flush());
    }
    folder = files.content();
}

inline void add_image(Folder& folder, const std::string& name, const Qcow2Layout& layout,
                      std::uint64_t bytes) {
    RecordingStorage file;
    REQUIRE(qcow2::create_empty(file, layout, bytes));
    folder[name] = file.content();
    if (layout.data_file) folder[*layout.data_file] = Bytes(bytes);
}

// What starting_image() has, `scale` times as long; no snapshot where there can be none.
inline void fill_top(Folder& folder, std::uint64_t scale) {
    change_in(folder, "top", [&](Image& image) {
        REQUIRE(image.write(GuestOffset(0), pattern(90000 * scale, 1)));
        REQUIRE(image.write_zeroes(GuestRange(GuestOffset(10000 * scale), 9000 * scale)));
        REQUIRE(image.flush());
        const qcow2::Header& header = as_qcow2(image).header();
        if (!header.has_data_file() && header.geometry.refcount_bits() > 1)
            REQUIRE(qcow2::create_snapshot(as_qcow2(image), "first", {}));
        REQUIRE(image.write(GuestOffset(20000 * scale), pattern(60000 * scale, 2)));
        REQUIRE(
            image.write_zeroes(GuestRange(GuestOffset(30000 * scale), 9000 * scale), Zeroing::keep_space));
    });
}

inline TestImage single_image(const std::string& name, const Qcow2Layout& layout, std::uint64_t scale = 1) {
    TestImage made{name, {}, {"top"}, Health::whole, scale};
    if (layout.backing_file) {
        made.files["base"] = pattern(160 * KiB * scale, 9);
        made.watched.push_back("base");
    }
    add_image(made.files, "top", layout, 160 * KiB * scale);
    fill_top(made.files, scale);
    // for a header that is to name another data file
    if (layout.data_file) made.files["moved"] = made.files.at(*layout.data_file);
    return made;
}

// Some clusters that guests have not written since become compressed ones.
inline TestImage compressed_image(const std::string& name, const Qcow2Layout& layout) {
    TestImage made = single_image(name, layout);
    change_in(made.files, "top", [](Image& image) {
        qcow2::Qcow2& format = as_qcow2(image);
        const auto compressor = make_compressor(format.header().codec, std::nullopt);
        REQUIRE(compressor);
        for (std::uint64_t at = 0; at < 20 * format.cluster_bytes(); at += 2 * format.cluster_bytes()) {
            const Bytes plain(format.cluster_bytes(), static_cast<std::byte>(at / format.cluster_bytes()));
            const auto packed = (*compressor)->compress(plain);
            REQUIRE(packed);
            REQUIRE(format.write_compressed(GuestOffset(at), *packed));
        }
    });
    return made;
}

// The same image with bitmaps, of which one records no changes.
inline TestImage with_bitmaps(TestImage made) {
    using Editor = qcow2::BitmapEditor;
    made.name += ", bitmaps";
    change_in(made.files, "top", [&](Image& image) {
        REQUIRE(edit_bitmaps(image, {[](Editor& e) { return e.add("fine", 512, true); },
                                     [](Editor& e) { return e.add("coarse", 8192, true); },
                                     [](Editor& e) { return e.add("still", 2048, true); }}));
        REQUIRE(image.write(GuestOffset(100000 * made.scale), pattern(5000, 3)));
        REQUIRE(edit_bitmaps(image, {[](Editor& e) { return e.set_recording("still", false); }}));
    });
    return made;
}

// base, mid and top stand on each other, other is a stranger; they differ in length, and all have some data of
// their own, some alike, some zeroes.
inline TestImage chain_of_images(const std::string& name, const Qcow2Layout& layout) {
    struct Part {
        std::string name;
        std::uint64_t bytes;
        std::string backing;
    };
    constexpr std::uint64_t unit = 4 * KiB;
    TestImage made{name, {}, {"top", "mid", "base"}, Health::whole, 1};
    for (const Part& part : {Part{"base", 14 * unit, ""}, Part{"mid", 11 * unit, "base"},
                             Part{"top", 16 * unit, "mid"}, Part{"other", 13 * unit, ""}}) {
        Qcow2Layout own = layout;
        if (layout.data_file) own.data_file = part.name + ".data";
        if (!part.backing.empty()) {
            own.backing_file = part.backing;
            own.backing_format = "qcow2";
        }
        add_image(made.files, part.name, own, part.bytes);
    }
    change_in(made.files, "base",
              [](Image& image) { REQUIRE(image.write(GuestOffset(0), pattern(13 * unit, 1))); });
    change_in(made.files, "other", [](Image& image) {
        REQUIRE(image.write(GuestOffset(0), pattern(5 * unit, 1)));
        REQUIRE(image.write(GuestOffset(9 * unit), pattern(3 * unit, 2)));
    });
    change_in(made.files, "mid", [](Image& image) {
        REQUIRE(image.write(GuestOffset(unit), pattern(unit, 3)));
        REQUIRE(image.write_zeroes(GuestRange(GuestOffset(9 * unit), unit)));
    });
    change_in(made.files, "top", [&](Image& image) {
        REQUIRE(image.write(GuestOffset(2 * unit + 700), pattern(unit, 4)));
        REQUIRE(image.write(GuestOffset(15 * unit), pattern(unit, 5)));
        REQUIRE(image.flush());
        if (!layout.data_file) REQUIRE(qcow2::create_snapshot(as_qcow2(image), "first", {}));
        REQUIRE(image.write(GuestOffset(6 * unit), pattern(unit, 6)));
        REQUIRE(image.write_zeroes(GuestRange(GuestOffset(2 * unit), unit)));
    });
    return made;
}

// Each overlay of the chain records what its base is.
inline TestImage pinned_chain(TestImage made) {
    made.name += ", pins";
    for (const char* name : {"mid", "top"}) {
        change_in(made.files, name, [](Image& image) {
            const auto pin = take_pin(*image.backing(), PinMode::full, no_progress());
            REQUIRE(pin);
            set_pin(as_qcow2(image).header(), *pin);
            REQUIRE(rewrite_pinned_header(as_qcow2(image)));
        });
    }
    return made;
}

// Every image of the chain has bitmaps.
inline TestImage chain_with_bitmaps(TestImage made) {
    using Editor = qcow2::BitmapEditor;
    made.name += ", bitmaps";
    add_image(made.files, "twin", layout_of(4096), 64 * KiB);  // a disk as long as the top's
    std::vector<std::string> names = made.watched;
    names.push_back("twin");
    for (const std::string& name : names) {
        change_in(made.files, name, [](Image& image) {
            REQUIRE(edit_bitmaps(image, {[](Editor& e) { return e.add("fine", 512, true); },
                                         [](Editor& e) { return e.add("still", 2048, false); }}));
            REQUIRE(image.write(GuestOffset(3000), pattern(1000, 8)));
        });
    }
    return made;
}

inline Qcow2Layout over_base(Qcow2Layout layout) {
    layout.backing_file = "base";
    layout.backing_format = "raw";
    return layout;
}

inline Qcow2Layout with_data_file(Qcow2Layout layout, bool raw) {
    layout.data_file = "data";
    layout.data_file_raw = raw;
    return layout;
}

// A way in which an image can be wrong.
struct Damage {
    std::string name;
    Health health;
    std::function<void(qcow2::Qcow2&)> inflict;
};

inline void put_u64(qcow2::Qcow2& format, HostOffset at, std::uint64_t value) {
    Bytes raw(8);
    store(std::span(raw), be64(value));
    REQUIRE(format.storage().write(at, raw));
}

inline void miscount(qcow2::Qcow2& format) {
    REQUIRE(format.refcounts().load());
    for (std::uint64_t cluster = 40; cluster < 90; cluster += 3) {
        if (format.refcounts().get(cluster).value() != 0) REQUIRE(format.refcounts().subtract({cluster, 1}));
    }
    REQUIRE(format.refcounts().write_blocks());
}

// What version 3 prescribes of a snapshot table entry is not there.
inline void shorten_snapshot_entry(qcow2::Qcow2& format) {
    using Extra = qcow2::disk::SnapshotExtra;
    Bytes entry(sizeof(qcow2::disk::SnapshotEntry) + sizeof(Extra) + 16);
    REQUIRE(format.storage().read(format.header().snapshot_table, entry));
    auto fixed = load<qcow2::disk::SnapshotEntry>(entry);
    fixed.extra_data_size = 0;
    store(std::span(entry), fixed);
    entry.erase(entry.begin() + sizeof fixed, entry.begin() + sizeof fixed + sizeof(Extra));
    REQUIRE(format.storage().write(format.header().snapshot_table, entry));
}

inline std::vector<TestImage> damaged_images() {
    const std::vector<Damage> all{
        {"leaks", Health::damaged,
         [](qcow2::Qcow2& format) {
             REQUIRE(format.refcounts().load());
             const auto run = format.refcounts().allocate(300);
             REQUIRE(run);
             // what lies behind the end of the file is not looked at
             REQUIRE(format.storage().resize(format.geometry().offset_of(run->first + run->count).bytes));
             REQUIRE(format.refcounts().write_blocks());
             REQUIRE(format.refcounts().write_table());
         }},
        {"refcounts too low", Health::damaged, miscount},
        {"dirty, refcounts too low", Health::dirty,
         [](qcow2::Qcow2& format) {
             miscount(format);
             put_u64(format, HostOffset(72), format.header().incompatible | qcow2::disk::incompatible_dirty);
         }},
        {"a refcount block is missing", Health::damaged,
         [](qcow2::Qcow2& format) { put_u64(format, format.header().refcount_table, 0); }},
        {"the refcount table is useless", Health::damaged,
         [](qcow2::Qcow2& format) { put_u64(format, format.header().refcount_table, 0x123); }},
        {"a snapshot table entry is too short", Health::damaged, shorten_snapshot_entry},
        {"copied flags are wrong", Health::damaged,
         [](qcow2::Qcow2& format) {
             const HostOffset table(format.l1().value()[0] & qcow2::disk::offset_mask);
             put_u64(format, format.header().l1_table, table.bytes);
             Bytes raw(8);
             REQUIRE(format.storage().read(table, raw));
             raw[0] ^= std::byte{0x80};
             REQUIRE(format.storage().write(table, raw));
         }},
    };
    std::vector<TestImage> images;
    for (const Damage& damage : all) {
        TestImage made = single_image(damage.name, layout_of(512));
        made.health = damage.health;
        RecordedFolder files(made.files);
        damage.inflict(as_qcow2(*open_in(files, "top")));
        made.files = files.content();
        images.push_back(std::move(made));
    }
    return images;
}

inline std::vector<TestImage> test_images() {
    Qcow2Layout lazy = layout_of(512);
    lazy.lazy_refcounts = true;
    Qcow2Layout subclusters = layout_of(16384);
    subclusters.extended_l2 = true;
    Qcow2Layout zstd = layout_of(4096);
    zstd.compression_type = "zstd";
    std::vector<TestImage> images{
        single_image("512", layout_of(512)),
        single_image("512, version 2", layout_of(512, 16, 2)),
        single_image("64k", layout_of(64 * KiB), 2),
        single_image("64k, version 2", layout_of(64 * KiB, 16, 2), 2),
        single_image("2M", layout_of(2 * MiB), 32),
        single_image("refcounts of 1 bit", layout_of(512, 1)),
        single_image("refcounts of 2 bits", layout_of(512, 2)),
        single_image("refcounts of 4 bits", layout_of(1024, 4)),
        single_image("refcounts of 8 bits", layout_of(512, 8)),
        single_image("refcounts of 32 bits", layout_of(512, 32)),
        single_image("refcounts of 64 bits", layout_of(512, 64)),
        single_image("lazy refcounts", lazy),
        single_image("extended L2", subclusters),
        compressed_image("compressed", layout_of(4096)),
        compressed_image("compressed, zstd", zstd),
        with_bitmaps(single_image("512", layout_of(512))),
        with_bitmaps(single_image("64k", layout_of(64 * KiB), 2)),
        with_bitmaps(single_image("refcounts of 1 bit", layout_of(512, 1))),
        with_bitmaps(single_image("extended L2", subclusters)),
        single_image("data file", with_data_file(layout_of(512), false)),
        single_image("raw data file", with_data_file(layout_of(4096), true)),
        with_bitmaps(single_image("data file", with_data_file(layout_of(512), false))),
        single_image("overlay", over_base(layout_of(512))),
        single_image("overlay, version 2", over_base(layout_of(512, 16, 2))),
        single_image("overlay, extended L2", over_base(subclusters)),
        with_bitmaps(single_image("overlay", over_base(layout_of(512)))),
        chain_of_images("chain, 512", layout_of(512)),
        chain_of_images("chain, version 2", layout_of(512, 16, 2)),
        chain_of_images("chain, 64k", layout_of(64 * KiB)),
        chain_of_images("chain, extended L2", subclusters),
        chain_of_images("chain, data files", with_data_file(layout_of(512), false)),
        pinned_chain(chain_of_images("chain, 512", layout_of(512))),
        chain_with_bitmaps(chain_of_images("chain, 512", layout_of(512))),
    };
    for (TestImage& damaged : damaged_images())
        images.push_back(std::move(damaged));
    return images;
}

}  // namespace qimg::test
