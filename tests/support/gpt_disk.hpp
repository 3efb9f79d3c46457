// A disk with a GUID partition table in memory, for tests to break.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "base/bytes.hpp"
#include "partition/disk_layout.hpp"
#include "qimg/storage.hpp"

namespace qimg::test {

namespace disk = partition::disk;

// As zlib has it, by its table-free definition.
inline std::uint32_t checksum(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~0u;
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

// A disk with a GPT of four entries, the first in use; to be broken by tests.
struct GptDisk {
    static constexpr std::uint64_t sectors = 2048;

    disk::Mbr mbr{};
    disk::GptHeader first{};
    disk::GptHeader backup{};
    std::array<disk::GptEntry, 4> entries{};
    std::uint64_t disk_sectors = sectors;
    std::uint64_t sector_size = 512;

    GptDisk() {
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

    // With checksums that are right.
    std::unique_ptr<Storage> file() {
        auto file = memory_storage();
        const auto put = [&](std::uint64_t sector, const auto& value) {
            REQUIRE(file->write(HostOffset(sector * sector_size), std::as_bytes(std::span(&value, 1))));
        };
        put(0, mbr);
        for (disk::GptHeader* header : {&first, &backup}) {
            header->entries_crc = checksum(std::as_bytes(std::span(entries)));
            header->header_crc = 0;
            header->header_crc = checksum(std::as_bytes(std::span(header, 1)));
            put(header->own_sector, *header);
            put(header->entries_sector, entries);
        }
        REQUIRE(file->resize(disk_sectors * sector_size));
        return file;
    }
};

}  // namespace qimg::test
