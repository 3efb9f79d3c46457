// Reading a copy of a GPT: nothing in it is believed before its checksum is.
// SPDX-License-Identifier: Apache-2.0
#include "partition/gpt.hpp"

#include <algorithm>
#include <string_view>

#include "base/checked.hpp"
#include "base/try.hpp"

namespace qimg::partition {

std::uint32_t crc32(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~0u;
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

disk::GptEntry GptCopy::entry(std::uint32_t index) const {
    return load<disk::GptEntry>(std::span(entries).subspan(std::size_t{index} * header.entry_bytes));
}

bool is_gpt(const disk::GptHeader& header) {
    return std::string_view(header.signature.data(), header.signature.size()) == disk::gpt_signature;
}

bool is_used(const disk::GptEntry& entry) {
    return std::ranges::any_of(entry.type, [](std::uint8_t byte) { return byte != 0; });
}

// A boot sector ends in the same two bytes, with code where the entries would be.
bool is_mbr(const disk::Mbr& mbr) {
    return mbr.signature == disk::mbr_signature && std::ranges::all_of(mbr.entries, [](const auto& entry) {
               return entry.boot_flag == 0 || entry.boot_flag == 0x80;
           });
}

Result<disk::GptHeader> read_gpt_header(const DiskReader& disk, std::uint64_t sector) {
    std::array<std::byte, sizeof(disk::GptHeader)> raw;
    TRY(disk.read(sector * disk.sector_bytes, raw));
    return load<disk::GptHeader>(raw);
}

Result<std::optional<GptCopy>> read_gpt_copy(const DiskReader& disk, std::uint64_t sector,
                                             std::string& broken) {
    GptCopy copy;
    copy.header = TRY(read_gpt_header(disk, sector));
    const disk::GptHeader& header = copy.header;
    const auto is_broken = [&](std::string_view what) {
        broken = what;
        return std::optional<GptCopy>();
    };
    if (!is_gpt(header)) return is_broken("is missing");
    if (header.header_bytes < sizeof(header) || header.header_bytes > disk.sector_bytes)
        return is_broken("has an impossible length");
    copy.whole_header.resize(header.header_bytes);
    TRY(disk.read(sector * disk.sector_bytes, copy.whole_header));
    store(std::span(copy.whole_header).subspan(offsetof(disk::GptHeader, header_crc)), le32(0));
    if (crc32(copy.whole_header) != header.header_crc) return is_broken("has a wrong checksum");
    if (header.own_sector != sector) return is_broken("says that it is elsewhere");
    const std::uint64_t bytes = std::uint64_t{header.entries} * header.entry_bytes;
    if (header.entry_bytes < sizeof(disk::GptEntry) || header.entry_bytes % 8 != 0 ||
        bytes > gpt_entries_bytes_max)
        return is_broken("has an impossible number or size of entries");
    if (header.entries_sector >= disk.sectors() ||
        !fits_within(header.entries_sector * disk.sector_bytes, bytes, disk.bytes))
        return is_broken("has its entries past the end of the disk");
    copy.entries.resize(bytes);
    TRY(disk.read(header.entries_sector * disk.sector_bytes, copy.entries));
    if (crc32(copy.entries) != header.entries_crc)
        return is_broken("does not have the checksum of its entries");
    return copy;
}

bool says_the_same(const GptCopy& first, const GptCopy& backup) {
    const disk::GptHeader& a = first.header;
    const disk::GptHeader& b = backup.header;
    return b.other_sector == a.own_sector && b.disk_guid == a.disk_guid && b.first_usable == a.first_usable &&
           b.last_usable == a.last_usable && b.entries == a.entries && b.entry_bytes == a.entry_bytes &&
           backup.entries == first.entries;
}

}  // namespace qimg::partition
