// Rules of writing that random operations would hardly meet.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/resize.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "qimg/image.hpp"
#include "support/recording_storage.hpp"
#include "support/sample_image.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

void change_header(Storage& file, const std::function<void(Header&)>& change) {
    Header header = read_header(file).value();
    change(header);
    REQUIRE(file.write(HostOffset(0), serialize_fields(header)));
}

}  // namespace

TEST_CASE("opening writes nothing") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, GiB));
    change_header(file, [](Header& header) { header.autoclear |= 1ull << 17; });
    const std::size_t calls = file.log().size();
    test::open_image(file, true);
    CHECK(file.log().size() == calls);
}

TEST_CASE("the first write clears autoclear bits that nobody here knows") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, GiB));
    change_header(file, [](Header& header) { header.autoclear |= 1ull << 17; });
    const auto image = test::open_image(file, true);
    REQUIRE(image->write(GuestOffset(0), Bytes(10, std::byte{1})));
    CHECK(read_header(file).value().autoclear == 0);
}

TEST_CASE("a corrupt-marked image is not opened for writing") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, GiB));
    change_header(file, [](Header& header) { header.incompatible |= disk::incompatible_corrupt; });
    Qcow2Options options;
    CHECK(Qcow2::open(borrow_storage(file), options));
    options.writable = true;
    CHECK(Qcow2::open(borrow_storage(file), options).error().kind == ErrorKind::read_only);
}

TEST_CASE("an image that was not closed cleanly is repaired before the first write") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, GiB));
    {
        const auto image = test::open_image(file, true);
        REQUIRE(image->write(GuestOffset(0), Bytes(100000, std::byte{1})));
        REQUIRE(image->flush());
        REQUIRE(test::as_qcow2(*image).refcounts().subtract({5, 1}));
        REQUIRE(test::as_qcow2(*image).refcounts().write_blocks());
    }
    change_header(file, [](Header& header) { header.incompatible |= disk::incompatible_dirty; });
    const auto image = test::open_image(file, true);
    REQUIRE(image->write(GuestOffset(500000), Bytes(100000, std::byte{2})));
    REQUIRE(image->flush());
    Bytes first(100000);
    REQUIRE(image->read(GuestOffset(0), first));
    CHECK(first == Bytes(100000, std::byte{1}));
    CHECK_FALSE(read_header(file).value().is(disk::incompatible_dirty));
}

TEST_CASE("a table whose cluster counts as free is not overwritten") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, GiB));
    HostOffset table;
    {
        const auto image = test::open_image(file, true);
        REQUIRE(image->write(GuestOffset(0), Bytes(10, std::byte{1})));
        REQUIRE(image->flush());
        table = HostOffset(test::as_qcow2(*image).l1().value()[0] & disk::offset_mask);
        REQUIRE(test::as_qcow2(*image).refcounts().subtract(
            {test::as_qcow2(*image).geometry().cluster_at(table), 1}));
        REQUIRE(test::as_qcow2(*image).refcounts().write_blocks());
    }
    const auto image = test::open_image(file, true);
    const auto written = image->write(GuestOffset(MiB), Bytes(10, std::byte{2}));
    REQUIRE_FALSE(written);
    CHECK(written.error().kind == ErrorKind::corrupt);
    Bytes first(10);
    REQUIRE(test::open_image(file, true)->read(GuestOffset(0), first));
    CHECK(first == Bytes(10, std::byte{1}));
}

TEST_CASE("a write past the end of the disk is refused and changes nothing") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, MiB));
    const auto image = test::open_image(file, true);
    const std::size_t calls = file.log().size();
    CHECK(image->write(GuestOffset(MiB - 5), Bytes(10)).error().kind == ErrorKind::invalid_argument);
    CHECK(image->write(GuestOffset(~0ull), Bytes(10)).error().kind == ErrorKind::invalid_argument);
    CHECK(file.log().size() == calls);
}

namespace {

// Makes the entry of the guest's cluster what nobody would write.
void change_entry(Storage& file, std::uint64_t index, std::uint64_t word) {
    const auto image = test::open_image(file, true);
    const HostOffset table(test::as_qcow2(*image).l1().value()[0] & disk::offset_mask);
    const be64 raw = word;
    REQUIRE(file.write(table + index * sizeof(raw), std::as_bytes(std::span(&raw, 1))));
}

}  // namespace

TEST_CASE("a copied flag without an offset is no place: guests neither read the header nor write to it") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, MiB));
    {
        const auto image = test::open_image(file, true);
        REQUIRE(image->write(GuestOffset(0), Bytes(10, std::byte{1})));
        REQUIRE(image->flush());
    }
    change_entry(file, 1, disk::flag_copied);
    const auto image = test::open_image(file, true);
    Bytes bytes(64 * KiB);
    REQUIRE(image->read(GuestOffset(64 * KiB), bytes));
    CHECK(is_zero(bytes));
    REQUIRE(image->write(GuestOffset(64 * KiB), Bytes(1000, std::byte{2})));
    REQUIRE(image->flush());
    CHECK(read_header(file));
}

TEST_CASE("what comes before a broken entry can be read") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, MiB));
    {
        const auto image = test::open_image(file, true);
        REQUIRE(image->write(GuestOffset(0), Bytes(128 * KiB, std::byte{1})));
        REQUIRE(image->flush());
    }
    change_entry(file, 2, 0x12345200);
    const auto image = test::open_image(file, true);
    const auto mapping = image->format().map(GuestRange(GuestOffset(0), MiB));
    REQUIRE(mapping);
    CHECK(mapping->range == GuestRange(GuestOffset(0), 128 * KiB));
    CHECK_FALSE(image->format().map(GuestRange(GuestOffset(128 * KiB), MiB - 128 * KiB)));
}

TEST_CASE("a snapshot of a disk without size has no L1 table, and none is given back") {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, {}, 0));
    const auto findings = [&] {
        const auto image = test::open_image(file, true);
        const auto report = check_image(test::as_qcow2(*image), Repair::none, {}, no_progress()).value();
        return report.corruptions + report.leaks;
    };
    {
        const auto image = test::open_image(file, true);
        REQUIRE(create_snapshot(test::as_qcow2(*image), "first", {}));
        REQUIRE(create_snapshot(test::as_qcow2(*image), "second", {}));
    }
    CHECK(findings() == 0);
    {
        const auto image = test::open_image(file, true);
        REQUIRE(apply_snapshot(test::as_qcow2(*image), "first"));
        REQUIRE(delete_snapshot(test::as_qcow2(*image), "first"));
    }
    CHECK(findings() == 0);
    const auto image = test::open_image(file, true);
    REQUIRE(grow(test::as_qcow2(*image), MiB, [] { return Result<void>(); }));
    REQUIRE(image->write(GuestOffset(0), Bytes(10, std::byte{1})));
    REQUIRE(image->flush());
    CHECK(findings() == 0);
}
