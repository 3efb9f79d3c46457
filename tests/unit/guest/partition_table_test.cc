// Tables as Linux reads them, and those that nobody should believe.
// SPDX-License-Identifier: Apache-2.0
#include "guest/partition_table.hpp"

#include <doctest/doctest.h>

#include "support/gpt_disk.hpp"
#include "support/mbr_disk.hpp"
#include "support/storage_volume.hpp"

using namespace qimg;
using namespace qimg::guest;

namespace {

PartitionTable table_of(std::unique_ptr<Storage> file) {
    const test::StorageVolume disk(std::move(file));
    return read_partition_table(disk).value();
}

bool has_note(const PartitionTable& table, std::string_view words) {
    return std::ranges::any_of(
        table.notes, [&](const TableNote& note) { return note.text.find(words) != note.text.npos; });
}

bool may_grow(const PartitionTable& table) {
    return std::ranges::none_of(table.notes, &TableNote::stops_growing);
}

test::MbrDisk with_logical() {
    test::MbrDisk disk;
    disk.set(1, 0x83, 2048, 2048);
    disk.set(2, 5, 8192, 16384);
    disk.logical = {{8192, 8194, 1000}, {10000, 10240, 2048}};
    return disk;
}

}  // namespace

TEST_CASE("a disk without a table, and one shorter than a sector") {
    auto file = memory_storage();
    CHECK(table_of(std::move(file)).kind == TableKind::none);
    file = memory_storage();
    REQUIRE(file->resize(100));
    CHECK(table_of(std::move(file)).kind == TableKind::none);
}

TEST_CASE("a GPT's partitions have their entries' numbers and names that are safe to print") {
    test::GptDisk disk;
    disk.entries[2] = disk.entries[0];
    disk.entries[2].first_sector = 200;
    disk.entries[2].last_sector = 299;
    disk.entries[2].name = {'a', 0, 0xe4, 0, 0x3d, 0xd8, 0x00, 0xde, 7, 0};
    const PartitionTable table = table_of(disk.file());
    CHECK(table.kind == TableKind::gpt);
    CHECK(table.notes.empty());
    REQUIRE(table.partitions.size() == 2);
    CHECK(table.partitions[1].number == 3);
    CHECK(table.partitions[1].start == 200 * 512);
    CHECK(table.partitions[1].bytes == 100 * 512);
    CHECK(table.partitions[1].name == "a\u00e4\U0001f600\\x07");
    CHECK(table.partitions[1].type == "00000001-0000-0000-0000-000000000000");
}

TEST_CASE("a GPT of 4096-byte sectors is found") {
    test::GptDisk disk;
    disk.sector_size = 4096;
    const PartitionTable table = table_of(disk.file());
    CHECK(table.notes.empty());
    CHECK(table.sector_bytes == 4096);
    REQUIRE(table.partitions.size() == 1);
    CHECK(table.partitions[0].start == 40 * 4096);
}

TEST_CASE("a broken copy of a GPT is noted, and the other one is read") {
    test::GptDisk disk;
    auto file = disk.file();
    REQUIRE(file->write_zeroes(HostRange(HostOffset((disk.sectors - 1) * 512), 512)));
    PartitionTable table = table_of(std::move(file));
    CHECK(table.partitions.size() == 1);
    CHECK(has_note(table, "second copy of the GPT, in sector 2047, is missing"));
    CHECK(may_grow(table));

    file = disk.file();
    REQUIRE(file->write_zeroes(HostRange(HostOffset(512), 512)));
    table = table_of(std::move(file));
    CHECK(table.partitions.size() == 1);
    CHECK(has_note(table, "first copy of the GPT is missing"));
    CHECK_FALSE(may_grow(table));
}

TEST_CASE(
    "tables that cannot grow: hybrid MBR, copies that differ, partitions outside the disk or overlapping") {
    test::GptDisk hybrid;
    hybrid.mbr.entries[1] = hybrid.mbr.entries[0];
    hybrid.mbr.entries[1].type = 0x83;
    CHECK(has_note(table_of(hybrid.file()), "hybrid MBR"));
    test::GptDisk differs;
    differs.backup.disk_guid[0] = 1;
    CHECK(has_note(table_of(differs.file()), "differ"));
    test::GptDisk outside;
    outside.entries[0].last_sector = 1ull << 63;
    CHECK(has_note(table_of(outside.file()), "inside the disk"));
    test::GptDisk over;
    over.entries[1] = over.entries[0];
    CHECK(has_note(table_of(over.file()), "partitions 1 and 2 overlap"));
    test::GptDisk itself;
    itself.entries[0].first_sector = 2;
    CHECK(has_note(table_of(itself.file()), "no room for partitions"));
    for (test::GptDisk* disk : {&hybrid, &differs, &outside, &over, &itself})
        CHECK_FALSE(may_grow(table_of(disk->file())));
}

TEST_CASE("a GPT counts only when the MBR says so") {
    test::GptDisk disk;
    disk.mbr.entries[0].type = 0x83;
    CHECK(table_of(disk.file()).kind == TableKind::mbr);
    disk.mbr = {};
    const PartitionTable table = table_of(disk.file());
    CHECK(table.kind == TableKind::none);
    CHECK_FALSE(may_grow(table));
}

TEST_CASE("a disk that became longer has free space behind its GPT") {
    test::GptDisk disk;
    disk.disk_sectors = 3 * disk.sectors;
    const PartitionTable table = table_of(disk.file());
    CHECK(may_grow(table));
    CHECK(has_note(table, "goes on behind the GPT"));
    REQUIRE(table.free_space.size() == 1);
    CHECK(table.free_space[0].start == 100 * 512);
    CHECK(table.room_end(table.partitions[0]) == table.usable_end);
    CHECK(table.usable_end == (3 * disk.sectors - 2) * 512);
}

TEST_CASE("logical partitions count from 5, in the order of their chain") {
    const PartitionTable table = table_of(with_logical().file());
    CHECK(table.kind == TableKind::mbr);
    CHECK(table.notes.empty());
    REQUIRE(table.partitions.size() == 4);
    CHECK(table.partitions[1].role == PartitionRole::extended);
    CHECK(table.partitions[2].number == 5);
    CHECK(table.partitions[3].number == 6);
    CHECK(table.partitions[3].start == 10240 * 512);
    CHECK(table.room_end(*table.find(5)) == 10000 * 512);
    CHECK(table.room_end(*table.find(6)) == (test::MbrDisk::sectors - 33) * 512);
    CHECK(table.room_end(*table.find(1)) == 8192 * 512);
}

TEST_CASE("chains of logical partitions that loop, break off or lead outside end all the same") {
    test::MbrDisk loop = with_logical();
    loop.loops = true;
    CHECK(has_note(table_of(loop.file()), "no end"));
    test::MbrDisk outside = with_logical();
    outside.logical.push_back({60000, 60001, 10});
    CHECK(has_note(table_of(outside.file()), "leads out"));
    test::MbrDisk broken = with_logical();
    auto file = broken.file();
    REQUIRE(file->write_zeroes(HostRange(HostOffset(10000 * 512), 512)));
    CHECK(has_note(table_of(std::move(file)), "breaks off"));
    test::MbrDisk longer = with_logical();
    longer.logical[1].length = 60000;
    CHECK(has_note(table_of(longer.file()), "inside the extended partition"));
    test::MbrDisk two = with_logical();
    two.set(3, 5, 30000, 100);
    two.extended_start = 8192;
    CHECK(has_note(table_of(two.file()), "more than one extended"));
}

TEST_CASE("a file system's boot sector is no MBR") {
    auto file = memory_storage();
    Bytes sector(512);
    sector[0] = std::byte{0xeb};
    sector[2] = std::byte{0x90};
    sector[12] = std::byte{2};
    sector[510] = std::byte{0x55};
    sector[511] = std::byte{0xaa};
    REQUIRE(file->write(HostOffset(0), sector));
    REQUIRE(file->resize(MiB));
    CHECK(table_of(std::move(file)).kind == TableKind::none);
}
