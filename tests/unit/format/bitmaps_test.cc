// Bitmaps: their bits beside a plain model, the directory as a hostile file has it, and recording.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/bitmaps.hpp"

#include <doctest/doctest.h>

#include <random>

#include "base/try.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/bitmap_content.hpp"
#include "format/qcow2/changed_ranges.hpp"
#include "support/sample_image.hpp"

using namespace qimg;
using namespace qimg::qcow2;
using test::as_qcow2;

namespace {

using Sectors = std::vector<bool>;

Sectors sectors_of(const BitmapContent& content) {
    Sectors sectors(content.disk_bytes() / sector_bytes);
    std::uint64_t end = 0;
    REQUIRE(content.for_each_run([&](GuestRange run) -> Result<void> {
        // the longest runs, in order
        CHECK((run.start.bytes > end || (run.start.bytes == 0 && end == 0)));
        end = run.end().bytes;
        for (std::uint64_t at = run.start.bytes; at < end; at += sector_bytes)
            sectors[at / sector_bytes] = true;
        return {};
    }));
    return sectors;
}

void set(Sectors& sectors, GuestRange range, std::uint64_t unit) {
    const std::uint64_t end = std::min(round_up(range.end().bytes, unit), sectors.size() * sector_bytes);
    for (std::uint64_t at = round_down(range.start.bytes, unit); at < end; at += sector_bytes)
        sectors[at / sector_bytes] = true;
}

GuestRange some_range(std::mt19937_64& random, std::uint64_t disk_bytes) {
    const std::uint64_t start = random() % (disk_bytes / sector_bytes) * sector_bytes;
    const std::uint64_t longest = random() % 4 == 0 ? disk_bytes : 64 * KiB;
    const std::uint64_t length = (random() % (longest / sector_bytes) + 1) * sector_bytes;
    return intersection(GuestRange(GuestOffset(start), length), GuestRange(GuestOffset(0), disk_bytes));
}

Bytes image_with_bitmap() {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, MiB));
    const auto image = test::open_image(file, true);
    REQUIRE(test::edit_bitmaps(*image, {[](BitmapEditor& e) { return e.add("one", 65536, true); }}));
    return file.content();
}

Bitmap only_bitmap(Storage& file) {
    const auto directory = read_bitmaps(file, read_header(file).value());
    REQUIRE(directory);
    REQUIRE(directory->bitmaps.size() == 1);
    return directory->bitmaps.front();
}

std::string error_after(const Bytes& content, std::uint64_t at, const Bytes& bytes) {
    test::RecordingStorage file(content);
    REQUIRE(file.write(HostOffset(at), bytes));
    const auto directory = read_bitmaps(file, read_header(file).value());
    return directory ? "" : directory.error().message;
}

Bytes number(std::uint64_t value, std::size_t count) {
    Bytes bytes(count);
    for (std::size_t i = 0; i < count; ++i)
        bytes[count - 1 - i] = static_cast<std::byte>(value >> 8 * i);
    return bytes;
}

}  // namespace

TEST_CASE("ranges that meet become one") {
    ChangedRanges ranges(1024);
    ranges.add(GuestRange(GuestOffset(4096), 1));
    ranges.add(GuestRange(GuestOffset(0), 1024));
    ranges.add(GuestRange(GuestOffset(8192), 512));
    ranges.add(GuestRange(GuestOffset(1000), 100));
    ranges.add(GuestRange(GuestOffset(5120), 3072));
    ranges.add(GuestRange(GuestOffset(0), 0));
    const auto taken = ranges.take();
    REQUIRE(taken.size() == 2);
    CHECK(taken[0] == GuestRange(GuestOffset(0), 2048));
    CHECK(taken[1] == GuestRange(GuestOffset(4096), 5120));
    CHECK(ranges.empty());
}

TEST_CASE("bits are what a plain model says, through settings, merges and sizes") {
    std::mt19937_64 random(1);
    const Geometry small(9, 4, false);
    for (unsigned round = 0; round < 40; ++round) {
        // with 512-byte clusters and units, a part is 2 MiB of disk
        std::uint64_t disk = (4 + random() % 8) * MiB + random() % 64 * sector_bytes;
        const unsigned bits = 9 + static_cast<unsigned>(random() % 8);
        BitmapContent content = BitmapContent::empty(small, bits, disk);
        Sectors model(disk / sector_bytes);
        for (unsigned step = 0; step < 12; ++step) {
            const GuestRange range = some_range(random, disk);
            if (random() % 5 == 0) {
                const unsigned other_bits = random() % 2 == 0 ? bits : 12;
                BitmapContent other = BitmapContent::empty(small, other_bits, disk);
                REQUIRE(other.set(range));
                REQUIRE(content.merge(other));
                const std::uint64_t unit = 1ull << other_bits;
                const GuestOffset start(round_down(range.start.bytes, unit));
                const GuestOffset end(std::min(round_up(range.end().bytes, unit), disk));
                set(model, GuestRange::between(start, end), 1ull << bits);
            } else if (random() % 6 == 0) {
                const std::uint64_t old = disk;
                disk = (1 + random() % 12) * MiB + random() % 64 * sector_bytes;
                REQUIRE(content.resize(disk));
                // what the last unit has of the new part is as dirty as the rest of it
                const std::uint64_t unit = 1ull << bits;
                const std::uint64_t in_unit = std::min(round_up(std::min(old, disk), unit), disk);
                const bool last = old < disk && !is_aligned(old, unit) && model.back();
                model.resize(disk / sector_bytes, false);
                if (last) set(model, GuestRange::between(GuestOffset(old - 1), GuestOffset(in_unit)), 512);
            } else {
                REQUIRE(content.set(range));
                set(model, range, 1ull << bits);
            }
            CHECK(sectors_of(content) == model);
        }
        content.clear();
        CHECK(sectors_of(content) == Sectors(model.size()));
    }
}

TEST_CASE("whole parts of ones take no space in the file") {
    test::RecordingStorage file;
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    REQUIRE(create_empty(file, layout, 8 * MiB));
    const auto image = test::open_image(file, true);
    REQUIRE(test::edit_bitmaps(*image, {[](BitmapEditor& e) { return e.add("all", 512, true); }}));
    REQUIRE(image->write_zeroes(GuestRange(GuestOffset(0), 8 * MiB)));
    REQUIRE(image->flush());
    const Header header = read_header(file).value();
    const Bitmap bitmap = only_bitmap(file);
    REQUIRE(bitmap.table_entries == 4);
    Bytes table(4 * table_entry_bytes);
    REQUIRE(file.read(bitmap.table, table));
    for (std::size_t i = 0; i < 4; ++i)
        CHECK(load<be64>(std::span(table).subspan(i * 8)) == disk::bitmap_all_ones);
    const auto content = BitmapContent::load(file, header, bitmap);
    REQUIRE(content);
    CHECK(sectors_of(*content) == Sectors(8 * MiB / sector_bytes, true));
}

TEST_CASE("a bitmap is in use from the first change to the next flush") {
    test::RecordingStorage file(image_with_bitmap());
    const auto image = test::open_image(file, true);
    CHECK_FALSE(only_bitmap(file).info.in_use);
    REQUIRE(image->write(GuestOffset(70000), test::pattern(100, 1)));
    CHECK(only_bitmap(file).info.in_use);
    REQUIRE(image->flush());
    CHECK_FALSE(only_bitmap(file).info.in_use);
    Sectors expected(MiB / sector_bytes);
    set(expected, GuestRange(GuestOffset(70000), 1), 65536);
    CHECK(sectors_of(BitmapContent::load(file, read_header(file).value(), only_bitmap(file)).value()) ==
          expected);
    // nothing changes, nothing is written
    const std::size_t calls = file.log().size();
    REQUIRE(image->flush());
    CHECK(file.log().size() == calls + 1);
}

TEST_CASE("one that was left in use can only be removed") {
    test::RecordingStorage file(image_with_bitmap());
    REQUIRE(test::open_image(file, true)->write(GuestOffset(0), test::pattern(100, 1)));
    const auto image = test::open_image(file, true);
    auto editor = BitmapEditor::open(as_qcow2(*image));
    REQUIRE(editor);
    const std::string text =
        "Bitmap 'one' is inconsistent and cannot be used\n"
        "Try block-dirty-bitmap-remove to delete this bitmap from disk";
    CHECK(editor->clear("one").error().message == text);
    CHECK(editor->set_recording("one", false).error().message == text);
    CHECK(editor->merge("one", *editor, "one").error().message == text);
    CHECK(editor->resize(2 * MiB).error().message == text);
    CHECK(editor->remove("one"));
    REQUIRE(editor->store());
    CHECK_FALSE(as_qcow2(*image).header().has_bitmaps());
    CHECK(read_header(file).value().find(disk::extension_bitmaps) == nullptr);
    const auto report = check_image(as_qcow2(*image), Repair::none, {}, no_progress());
    REQUIRE(report);
    CHECK(report->corruptions == 0);
}

TEST_CASE("stale bitmaps are gone, and leave the image with the others") {
    test::RecordingStorage file(image_with_bitmap());
    REQUIRE(file.write(HostOffset(88), Bytes(8)));
    const auto image = test::open_image(file, true);
    CHECK(read_bitmaps(file, as_qcow2(*image).header()).value().bitmaps.empty());
    REQUIRE(remove_all_bitmaps(as_qcow2(*image)));
    CHECK(read_header(file).value().find(disk::extension_bitmaps) == nullptr);
    const std::size_t calls = file.log().size();
    REQUIRE(remove_all_bitmaps(as_qcow2(*image)));
    CHECK(file.log().size() == calls);
}

TEST_CASE("a directory that breaks a rule is refused") {
    const Bytes content = image_with_bitmap();
    test::RecordingStorage file(content);
    const std::uint64_t entry = only_bitmap(file).directory_entry.bytes;
    const std::string constraints = "Bitmap 'one' doesn't satisfy the constraints";
    CHECK(error_after(content, entry, number(0x40200, 8)) == constraints);  // table_offset
    CHECK(error_after(content, entry, number(0, 8)) == constraints);
    CHECK(error_after(content, entry + 8, number(0, 4)) == constraints);  // table_size
    CHECK(error_after(content, entry + 8, number(0xffffffff, 4)) == constraints);
    CHECK(error_after(content, entry + 8, number(2, 4)) ==
          "Could not read bitmap 'one' from image: Invalid argument");
    CHECK(error_after(content, entry + 12, number(6, 4)) == constraints);  // flags
    CHECK(error_after(content, entry + 16, number(2, 1)) == constraints);  // type
    CHECK(error_after(content, entry + 17, number(8, 1)) == constraints);  // granularity_bits
    CHECK(error_after(content, entry + 17, number(255, 1)) == constraints);
    CHECK(error_after(content, entry + 18, number(0, 2)) == "Broken bitmap directory");  // name_size
    CHECK(error_after(content, entry + 18, number(0xffff, 2)) == "Broken bitmap directory");
    CHECK(error_after(content, entry + 20, number(0xffffffff, 4)) == "Broken bitmap directory");
}

TEST_CASE("a table that cannot be believed is not followed") {
    test::RecordingStorage file(image_with_bitmap());
    Bitmap bitmap = only_bitmap(file);
    const Header header = read_header(file).value();
    for (const std::uint64_t entry : {0x40003ull, 0x40200ull, 0x8000000000040000ull}) {
        REQUIRE(file.write(bitmap.table, number(entry, 8)));
        CHECK(BitmapContent::load(file, header, bitmap).error().kind == ErrorKind::corrupt);
    }
    bitmap.table = HostOffset(1ull << 40);
    CHECK(BitmapContent::load(file, header, bitmap).error().kind == ErrorKind::corrupt);
}
