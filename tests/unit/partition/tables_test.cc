// Partition tables that disagree with each other or with the disk.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "partition/tables.hpp"
#include "support/gpt_disk.hpp"

using namespace qimg;
using namespace qimg::partition;

namespace {

constexpr std::uint64_t sectors = test::GptDisk::sectors;

struct Disk : test::GptDisk {
    std::vector<TableRule> faults() {
        std::vector<TableRule> rules;
        const std::vector<TableFault> found = check_tables(*file()).value();
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

TEST_CASE("a file that ends inside a sector has that sector") {
    auto file = memory_storage();
    disk::Mbr mbr{};
    mbr.entries[0].type = 0x83;
    mbr.entries[0].first_sector = 1;
    mbr.entries[0].sectors = 1;
    mbr.signature = disk::mbr_signature;
    REQUIRE(file->write(HostOffset(0), std::as_bytes(std::span(&mbr, 1))));
    REQUIRE(file->resize(512 + 1));
    CHECK(check_tables(*file).value().empty());
    REQUIRE(file->resize(512));
    CHECK(check_tables(*file).value().size() == 1);
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
