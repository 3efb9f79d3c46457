// Partition tables that disagree with each other or with the disk.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "partition/disk_layout.hpp"
#include "partition/tables.hpp"
#include "qimg/storage.hpp"

using namespace qimg;
using namespace qimg::partition;

namespace {

constexpr std::uint64_t sectors = 2048;

// As zlib has it, by its table-free definition.
std::uint32_t checksum(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~0u;
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

// A disk with a GPT of four entries, the first in use; to be broken by tests.
struct Disk {
    disk::Mbr mbr{};
    disk::GptHeader first{};
    disk::GptHeader backup{};
    std::array<disk::GptEntry, 4> entries{};
    std::uint64_t disk_sectors = sectors;

    Disk() {
        mbr.entries[0].type = disk::mbr_protective;
        mbr.entries[0].first_sector = 1;
        mbr.entries[0].sectors = sectors - 1;
        mbr.signature = disk::mbr_signature;
        entries[0].type[0] = 1;
        entries[0].first_sector = 40;
        entries[0].last_sector = 99;
        std::ranges::copy(disk::gpt_signature, first.signature.begin());
        first.header_bytes = sizeof(first);
        first.entries = static_cast<std::uint32_t>(entries.size());
        first.entry_bytes = sizeof(disk::GptEntry);
        first.first_usable = 34;
        first.last_usable = sectors - 34;
        backup = first;
        first.own_sector = backup.other_sector = 1;
        first.other_sector = backup.own_sector = sectors - 1;
        first.entries_sector = 2;
        backup.entries_sector = sectors - 10;
    }

    std::vector<TableRule> faults() {
        auto file = memory_storage();
        const auto put = [&](std::uint64_t sector, const auto& value) {
            REQUIRE(file->write(HostOffset(sector * 512), std::as_bytes(std::span(&value, 1))));
        };
        put(0, mbr);
        for (disk::GptHeader* header : {&first, &backup}) {
            header->entries_crc = checksum(std::as_bytes(std::span(entries)));
            header->header_crc = 0;
            header->header_crc = checksum(std::as_bytes(std::span(header, 1)));
            put(header->own_sector, *header);
            put(header->entries_sector, entries);
        }
        REQUIRE(file->resize(disk_sectors * 512));
        std::vector<TableRule> rules;
        const std::vector<TableFault> found = check_tables(*file).value();
        for (const TableFault& fault : found)
            rules.push_back(fault.rule);
        return rules;
    }
};

using Rules = std::vector<TableRule>;

}  // namespace

TEST_CASE("a disk without tables, and one whose tables agree, have no faults") {
    auto file = memory_storage();
    CHECK(check_tables(*file).value().empty());
    CHECK(Disk().faults().empty());
}

TEST_CASE("a GPT and the MBR in front of it have to fit") {
    Disk disk;
    disk.mbr.entries[0].sectors = 1000;
    CHECK(disk.faults() == Rules{TableRule::mbr_fits_gpt});
    disk.mbr.entries[0].sectors = 0xffffffff;
    CHECK(disk.faults().empty());
    disk.mbr.entries[0].type = 0;
    CHECK(disk.faults() == Rules{TableRule::mbr_fits_gpt});
    disk.mbr = {};
    CHECK(disk.faults() == Rules{TableRule::mbr_fits_gpt});
}

TEST_CASE("a disk that is longer or shorter than its GPT says") {
    Disk disk;
    disk.mbr.entries[0].sectors = 0xffffffff;
    disk.disk_sectors = sectors + 100;
    CHECK(disk.faults() == Rules{TableRule::disk_end});
    disk.disk_sectors = sectors - 100;
    CHECK(disk.faults() == Rules{TableRule::gpt_backup});
}

TEST_CASE("partitions past the end, or on top of each other") {
    Disk disk;
    disk.entries[1] = disk.entries[0];
    CHECK(disk.faults() == Rules{TableRule::no_overlap});
    disk.entries[1].first_sector = 100;
    disk.entries[1].last_sector = sectors;
    CHECK(disk.faults() == Rules{TableRule::inside_disk});
    disk.entries[1].last_sector = ~0ull;
    CHECK(disk.faults() == Rules{TableRule::inside_disk});
    disk.entries[1].last_sector = 50;
    CHECK(disk.faults() == Rules{TableRule::inside_disk});
}

TEST_CASE("copies of a GPT that lie or disagree") {
    Disk disk;
    disk.backup.last_usable = 500;
    CHECK(disk.faults() == Rules{TableRule::gpt_backup});
    disk = Disk();
    disk.first.entries = 0xffffffff;
    CHECK(disk.faults() == Rules{TableRule::gpt_whole});
    disk = Disk();
    disk.first.entries_sector = sectors - 1;
    disk.first.other_sector = 1000;
    CHECK(disk.faults() == Rules{TableRule::gpt_whole});
}
