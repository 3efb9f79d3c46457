// A disk with an MBR and logical partitions in memory, for tests to break.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "partition/disk_layout.hpp"
#include "qimg/storage.hpp"

namespace qimg::test {

// Numbers are sectors.
struct MbrDisk {
    static constexpr std::uint64_t sectors = 65536;

    struct Logical {
        std::uint32_t record;
        std::uint32_t start;
        std::uint32_t length;
    };
    partition::disk::Mbr mbr{};
    std::vector<Logical> logical;
    bool loops = false;  // the last record leads to the first one
    std::uint32_t extended_start = 0;
    std::uint64_t disk_sectors = sectors;

    MbrDisk() { mbr.signature = partition::disk::mbr_signature; }

    void set(unsigned number, std::uint8_t type, std::uint32_t start, std::uint32_t length) {
        auto& entry = mbr.entries[number - 1];
        entry.type = type;
        entry.first_sector = start;
        entry.sectors = length;
        if (type == 5) extended_start = start;
    }

    std::unique_ptr<Storage> file() const {
        auto file = memory_storage();
        const auto put = [&](std::uint64_t sector, const partition::disk::Mbr& record) {
            REQUIRE(file->write(HostOffset(sector * 512), std::as_bytes(std::span(&record, 1))));
        };
        put(0, mbr);
        for (std::size_t i = 0; i < logical.size(); ++i) {
            partition::disk::Mbr record{};
            record.signature = partition::disk::mbr_signature;
            record.entries[0].type = 0x83;
            record.entries[0].first_sector = logical[i].start - logical[i].record;
            record.entries[0].sectors = logical[i].length;
            if (i + 1 < logical.size() || loops) {
                const Logical& next = logical[(i + 1) % logical.size()];
                record.entries[1].type = 5;
                record.entries[1].first_sector = next.record - extended_start;
                record.entries[1].sectors = next.start + next.length - next.record;
            }
            put(logical[i].record, record);
        }
        REQUIRE(file->resize(disk_sectors * 512));
        return file;
    }
};

}  // namespace qimg::test
