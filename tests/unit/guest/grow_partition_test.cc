// Which partition grows, and what tables say afterwards.
// SPDX-License-Identifier: Apache-2.0
#include "guest/grow_partition.hpp"

#include <doctest/doctest.h>

#include "partition/tables.hpp"
#include "support/gpt_disk.hpp"
#include "support/mbr_disk.hpp"
#include "support/storage_volume.hpp"

using namespace qimg;
using namespace qimg::guest;

namespace {

constexpr std::array<std::uint8_t, 16> root_x86_64 = {0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d,
                                                      0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09};
constexpr std::array<std::uint8_t, 16> linux_swap = {0x6d, 0xfd, 0x57, 0x06, 0xab, 0xa4, 0xc4, 0x43,
                                                     0x84, 0xe5, 0x09, 0x33, 0xc8, 0x4b, 0x4f, 0x4f};

// Grows as chosen; the table as it is then.
PartitionTable grow(test::StorageVolume& disk, std::optional<unsigned> number = std::nullopt) {
    const PartitionTable before = read_partition_table(disk).value();
    const Partition* const chosen = choose_partition(before, number).value();
    REQUIRE(grow_partition(disk, before, *chosen));
    return read_partition_table(disk).value();
}

Result<void> try_grow(test::StorageVolume& disk) {
    const PartitionTable before = read_partition_table(disk).value();
    return grow_partition(disk, before, before.partitions.at(0));
}

void check_whole(test::StorageVolume& disk) {
    const auto faults = partition::check_tables(disk.storage()).value();
    for (const auto& fault : faults)
        FAIL_CHECK(fault.text);
}

test::StorageVolume longer(std::unique_ptr<Storage> file, std::uint64_t sectors) {
    REQUIRE(file->resize(sectors * 512));
    return test::StorageVolume(std::move(file));
}

test::GptDisk two_partitions() {
    test::GptDisk disk;
    disk.entries[1] = disk.entries[0];
    disk.entries[1].first_sector = 200;
    disk.entries[1].last_sector = 299;
    return disk;
}

unsigned chosen_of(test::GptDisk disk, std::uint64_t sectors) {
    auto volume = longer(disk.file(), sectors);
    const PartitionTable table = read_partition_table(volume).value();
    return choose_partition(table, std::nullopt).value()->number;
}

}  // namespace

TEST_CASE("a GPT's second copy, its limits and the MBR move to the new end") {
    test::GptDisk disk;
    auto volume = longer(disk.file(), 100000);
    const PartitionTable table = grow(volume);
    CHECK(table.notes.empty());
    check_whole(volume);
    CHECK(table.partitions[0].start == 40 * 512);
    CHECK(table.partitions[0].end() == (100000 - 2) * 512);
    Bytes old(512);
    REQUIRE(volume.read((disk.sectors - 1) * 512, old));
    CHECK(is_zero(old));
}

TEST_CASE("a GPT of 4096-byte sectors grows, too") {
    test::GptDisk disk;
    disk.sector_size = 4096;
    auto volume = longer(disk.file(), 10000 * 8 + 3);
    const PartitionTable table = grow(volume);
    CHECK(table.notes.empty());
    CHECK(table.partitions[0].end() == (10000 - 2) * 4096);
    Bytes backup(8);
    REQUIRE(volume.read(9999 * 4096, backup));
    CHECK(text_of(backup) == partition::disk::gpt_signature);
}

TEST_CASE("growing again where nothing is left changes nothing") {
    auto volume = longer(test::GptDisk().file(), 100000);
    grow(volume);
    Bytes before(512 * 64);
    REQUIRE(volume.read(0, before));
    grow(volume);
    Bytes after(before.size());
    REQUIRE(volume.read(0, after));
    CHECK(before == after);
}

TEST_CASE("a lost second copy is written anew, a first one is not") {
    auto volume = longer(test::GptDisk().file(), 100000);
    REQUIRE(volume.write_zeroes((test::GptDisk::sectors - 1) * 512, 512));
    grow(volume);
    check_whole(volume);
    REQUIRE(volume.write_zeroes(512, 512));
    CHECK(try_grow(volume).error().kind == ErrorKind::unsupported);
}

TEST_CASE("a hybrid MBR is left alone") {
    test::GptDisk disk;
    disk.mbr.entries[1].type = 0x83;
    auto volume = longer(disk.file(), 100000);
    CHECK(try_grow(volume).error().message.find("hybrid") != std::string::npos);
}

TEST_CASE("what a newer GPT has behind the header that is known stays") {
    test::GptDisk disk;
    auto file = disk.file();
    Bytes header(512);
    REQUIRE(file->read(HostOffset(512), header));
    header.resize(100);
    header[96] = std::byte{0x77};
    store(std::span(header).subspan(12), le32(100));
    store(std::span(header).subspan(16), le32(0));
    store(std::span(header).subspan(16), le32(test::checksum(header)));
    REQUIRE(file->write(HostOffset(512), header));
    auto volume = longer(std::move(file), 100000);
    grow(volume);
    check_whole(volume);
    Bytes kept(100);
    REQUIRE(volume.read(99999 * 512, kept));
    CHECK(kept[96] == std::byte{0x77});
}

TEST_CASE("the root partition by its type grows, or else the last one, or else the largest that can") {
    test::GptDisk disk = two_partitions();
    CHECK(chosen_of(disk, 100000) == 2);
    std::swap(disk.entries[0].first_sector, disk.entries[1].first_sector);
    std::swap(disk.entries[0].last_sector, disk.entries[1].last_sector);
    CHECK(chosen_of(disk, 100000) == 1);
    disk.entries[0].type = linux_swap;  // at the end of the disk
    CHECK(chosen_of(disk, 100000) == 2);
    disk = two_partitions();
    disk.entries[0].type = root_x86_64;
    disk.entries[1].first_sector = disk.entries[1].first_sector + 4096;
    disk.entries[1].last_sector = disk.entries[1].last_sector + 4096;
    disk.first.last_usable = disk.backup.last_usable = 9000;
    disk.first.other_sector = disk.backup.own_sector = 9999;
    disk.backup.entries_sector = 9990;
    CHECK(chosen_of(disk, 10000) == 1);
    const auto volume = longer(disk.file(), 10000);
    const PartitionTable table = read_partition_table(volume).value();
    CHECK(choose_partition(table, 2).value()->number == 2);
    CHECK(choose_partition(table, 3).error().kind == ErrorKind::not_found);
}

TEST_CASE("a partition grows as far as the next one") {
    test::GptDisk disk = two_partitions();
    disk.entries[1].first_sector = disk.entries[1].first_sector + 10000;
    disk.entries[1].last_sector = disk.entries[1].last_sector + 10000;
    disk.first.last_usable = disk.backup.last_usable = 20000 - 34;
    disk.first.other_sector = disk.backup.own_sector = 19999;
    disk.backup.entries_sector = 19990;
    auto volume = longer(disk.file(), 20000);
    const PartitionTable table = grow(volume, 1);
    CHECK(table.partitions[0].end() == 10200 * 512);
    CHECK(table.partitions[1].start == 10200 * 512);
}

TEST_CASE("a partition of an MBR grows up to where a GPT would end, and 2 TiB at most") {
    test::MbrDisk disk;
    disk.set(1, 0x83, 2048, 2048);
    auto volume = longer(disk.file(), 100000);
    PartitionTable table = grow(volume);
    CHECK(table.partitions[0].end() == (100000 - 33) * 512);
    std::array<std::byte, sizeof(partition::disk::Mbr)> raw;
    REQUIRE(volume.read(0, raw));
    const auto mbr = load<partition::disk::Mbr>(raw);
    CHECK(mbr.entries[0].last_chs == std::array<std::uint8_t, 3>{0x38, 0x31, 0x06});
    volume.grow_to(8ull << 40);
    table = grow(volume);
    CHECK(table.partitions[0].end() == (0xffffffffull - 33) * 512);
}

TEST_CASE("a logical partition grows with the extended one around it") {
    test::MbrDisk disk;
    disk.set(1, 0x83, 2048, 2048);
    disk.set(2, 5, 8192, 16384);
    disk.logical = {{8192, 8194, 1000}, {10000, 10240, 2048}};
    auto volume = longer(disk.file(), 100000);
    PartitionTable table = grow(volume);
    CHECK(table.notes.empty());
    CHECK(table.find(2)->end() == (100000 - 33) * 512);
    CHECK(table.find(6)->end() == (100000 - 33) * 512);
    CHECK(table.find(5)->bytes == 1000 * 512);
    std::array<std::byte, sizeof(partition::disk::Mbr)> raw;
    REQUIRE(volume.read(8192 * 512, raw));
    CHECK(load<partition::disk::Mbr>(raw).entries[1].sectors == 100000 - 33 - 10000);
    const PartitionTable before = read_partition_table(volume).value();
    CHECK(choose_partition(before, 2).error().kind == ErrorKind::unsupported);
}

TEST_CASE("members of a RAID are left alone") {
    test::MbrDisk disk;
    disk.set(1, 0xfd, 2048, 2048);
    const auto volume = longer(disk.file(), 100000);
    const PartitionTable table = read_partition_table(volume).value();
    CHECK(choose_partition(table, 1).error().kind == ErrorKind::unsupported);
    CHECK(choose_partition(table, std::nullopt).error().kind == ErrorKind::not_found);
}
