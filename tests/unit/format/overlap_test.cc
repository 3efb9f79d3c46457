// Tables that lead writes to where something else lies: nothing is overwritten, and no file becomes endless.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <functional>

#include "format/qcow2/create.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "qimg/image.hpp"
#include "support/recording_storage.hpp"
#include "support/sample_image.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

// An image with data in its first guest clusters, and where its tables are.
struct Victim {
    test::RecordingStorage file;
    HostOffset l1;
    HostOffset l2;
    HostOffset refcount_table;
    HostOffset refcount_block;

    Victim() {
        REQUIRE(create_empty(file, {}, 4 * GiB));
        const auto image = test::open_image(file, true);
        REQUIRE(image->write(GuestOffset(0), Bytes(200000, std::byte{1})));
        REQUIRE(create_snapshot(test::as_qcow2(*image), "before", {}));
        REQUIRE(image->write(GuestOffset(0), Bytes(200000, std::byte{2})));
        REQUIRE(image->flush());
        l1 = test::as_qcow2(*image).header().l1_table;
        l2 = HostOffset(test::as_qcow2(*image).l1().value()[0] & disk::offset_mask);
        refcount_table = test::as_qcow2(*image).header().refcount_table;
        refcount_block = HostOffset(test::as_qcow2(*image).refcounts().table()[0]);
    }

    void set(HostOffset at, std::uint64_t entry) {
        const be64 raw = entry;
        REQUIRE(file.write(at, std::as_bytes(std::span(&raw, 1))));
    }
    std::string error_of_write(GuestOffset at, std::size_t bytes = 10) {
        const auto image = test::open_image(file, true);
        const auto written = image->write(at, Bytes(bytes, std::byte{7}));
        return written ? "" : written.error().message;
    }
    // The write is refused for that reason, before anything is changed.
    void check_refused(GuestOffset at, const std::string& reason) {
        const Bytes before = file.content();
        const std::string error = error_of_write(at);
        INFO(error);
        CHECK(error.find(reason) != std::string::npos);
        CHECK(file.content() == before);
    }
};

}  // namespace

TEST_CASE("guest data is not written over metadata") {
    Victim victim;
    const std::uint64_t snapshots = read_header(victim.file).value().snapshot_table.bytes;
    const std::pair<std::uint64_t, const char*> targets[] = {
        {victim.l1.bytes, "overlaps with active L1 table"},
        {victim.l2.bytes, "overlaps with active L2 table"},
        {victim.refcount_table.bytes, "overlaps with refcount table"},
        {victim.refcount_block.bytes, "overlaps with refcount block"},
        {snapshots, "overlaps with snapshot table"},
    };
    for (const auto& [target, reason] : targets) {
        victim.set(victim.l2, target | disk::flag_copied);
        victim.check_refused(GuestOffset(10), reason);
        victim.set(victim.l2, target | disk::flag_copied | disk::flag_zero);
        victim.check_refused(GuestOffset(10), reason);
    }
}

TEST_CASE("guest data is not written over the L1 table of a snapshot") {
    Victim victim;
    const auto snapshots = read_snapshots(victim.file, read_header(victim.file).value()).value();
    victim.set(victim.l2, snapshots[0].l1_table.bytes | disk::flag_copied);
    victim.check_refused(GuestOffset(10), "overlaps with inactive L1 table");
}

TEST_CASE("an offset of a table that is gone keeps no data from being written or released") {
    test::RecordingStorage file;
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    REQUIRE(create_empty(file, layout, 32 * KiB));
    const auto fill = [&] {
        const auto image = test::open_image(file, true);
        REQUIRE(image->write(GuestOffset(0), Bytes(16 * KiB, std::byte{1})));
        REQUIRE(image->flush());
    };
    fill();
    // into the middle of the data
    const std::uint64_t inside = round_down(file.content().size() / 2, 512);
    const be64 offset = inside;
    REQUIRE(file.write(HostOffset(offsetof(disk::Header, snapshots_offset)),
                       std::as_bytes(std::span(&offset, 1))));
    fill();
    const auto image = test::open_image(file, true);
    REQUIRE(empty(test::as_qcow2(*image)));
    const auto report = check_image(test::as_qcow2(*image), Repair::none, {}, no_progress()).value();
    CHECK(report.leaks == 0);
    CHECK(report.corruptions == 0);
}

TEST_CASE("a table entry cannot make the file exabytes long") {
    Victim victim;
    victim.set(victim.l2, 0x00ffffffffff0000 | disk::flag_copied);
    victim.check_refused(GuestOffset(10), "past the end of the file");
    victim.set(victim.l2, 0);
    victim.set(victim.l1, 0x00ffffffffff0000 | disk::flag_copied);
    victim.check_refused(GuestOffset(10), "past the end of the file");
    victim.set(victim.l1, victim.l2.bytes | disk::flag_copied);
    victim.set(victim.refcount_table, 0x00ffffffffff0000);
    victim.check_refused(GuestOffset(GiB), "is outside image");
}

TEST_CASE("a file that lost its end gets it back where refcounts know of it") {
    Victim victim;
    {
        const auto image = test::open_image(victim.file, true);
        REQUIRE(image->write(GuestOffset(GiB), Bytes(65536, std::byte{3})));
        REQUIRE(image->flush());
    }
    const std::uint64_t size = victim.file.content().size();
    std::uint64_t data_at = 0;
    {
        const auto image = test::open_image(victim.file, true);
        data_at = image->extent(GuestRange(GuestOffset(GiB), 65536)).value().host->bytes;
    }
    REQUIRE(data_at + 65536 == size);
    REQUIRE(victim.file.resize(data_at - 65536));
    victim.set(victim.l2, data_at | disk::flag_copied);
    CHECK(victim.error_of_write(GuestOffset(10)).empty());
    CHECK(victim.file.content().size() >= data_at);
}

TEST_CASE("a L2 table that lies on other metadata is not written") {
    Victim victim;
    victim.set(victim.l1, victim.refcount_block.bytes | disk::flag_copied);
    victim.check_refused(GuestOffset(GiB / 2 - 10), "overlaps with refcount block");
    victim.set(victim.l1, victim.l1.bytes | disk::flag_copied);
    victim.check_refused(GuestOffset(GiB / 2 - 10), "overlaps with active L1 table");
}

TEST_CASE("structures on top of each other are refused before the first change") {
    Victim victim;
    victim.set(victim.refcount_table + 8, victim.refcount_block.bytes);
    victim.check_refused(GuestOffset(GiB), "overlaps with refcount block");
    victim.set(victim.refcount_table + 8, victim.l1.bytes);
    victim.check_refused(GuestOffset(GiB), "refcount block");
    victim.set(victim.refcount_table + 8, 0);
    CHECK(victim.error_of_write(GuestOffset(GiB)).empty());
}

TEST_CASE("discarding what an entry wrongly claims leaves the metadata there alone") {
    Victim victim;
    for (const HostOffset target : {HostOffset(0), victim.l1, victim.refcount_table, victim.refcount_block}) {
        victim.set(victim.l2, target.bytes | disk::flag_copied);
        const auto image = test::open_image(victim.file, true);
        REQUIRE(image->discard(GuestRange(GuestOffset(0), 65536)));
        REQUIRE(image->flush());
        CHECK(test::as_qcow2(*image).refcounts().get(target.bytes / 65536).value() == 1);
        Bytes rest(65536);
        REQUIRE(test::open_image(victim.file, true)->read(GuestOffset(65536), rest));
        CHECK(rest == Bytes(65536, std::byte{2}));
    }
}

TEST_CASE("an L1 table that the file does not have is not read") {
    Victim victim;
    Header header = read_header(victim.file).value();
    header.l1_entries = l1_table_bytes_max / table_entry_bytes;
    REQUIRE(victim.file.write(HostOffset(0), serialize_fields(header)));
    const auto image = test::open_image(victim.file, true);
    const auto extent = image->extent(GuestRange(GuestOffset(0), 10));
    REQUIRE_FALSE(extent);
    CHECK(extent.error().message.find("past the end of the file") != std::string::npos);
}

TEST_CASE("more L2 tables than the file has clusters are refused") {
    Victim victim;
    Header header = read_header(victim.file).value();
    const HostOffset at(round_up(victim.file.content().size(), 65536));
    header.l1_table = at;
    header.l1_entries = 1000;
    Bytes table(1000 * table_entry_bytes);
    for (std::size_t i = 0; i < 1000; ++i)
        store(std::span(table).subspan(i * 8), be64(victim.l2.bytes));
    REQUIRE(victim.file.write(at, table));
    REQUIRE(victim.file.write(HostOffset(0), serialize_fields(header)));
    const auto image = test::open_image(victim.file, true);
    const auto extent = image->extent(GuestRange(GuestOffset(0), 10));
    REQUIRE_FALSE(extent);
    CHECK(extent.error().message.find("1000 L2 tables") != std::string::npos);
}

// The new table goes below where the old one ended, to clusters that deleted snapshots have left.
TEST_CASE("snapshots with long names are deleted one by one") {
    test::RecordingStorage file;
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    REQUIRE(create_empty(file, layout, 64 * KiB));
    const auto name = [](int number) { return std::string(240, 'x') + std::to_string(number); };
    const auto image = test::open_image(file, true);
    for (int i = 0; i < 40; ++i)
        REQUIRE(create_snapshot(test::as_qcow2(*image), name(i), {}));
    for (int i = 0; i < 40; ++i) {
        const auto deleted = delete_snapshot(test::as_qcow2(*image), name(i));
        REQUIRE_MESSAGE(deleted, (deleted ? "" : deleted.error().message));
    }
    CHECK(read_header(file).value().snapshot_count == 0);
}
