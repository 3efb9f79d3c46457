// One copy of a GUID partition table: read, checked by itself, and its checksums. Whether two copies, the MBR and
// the disk fit together is left to others. UEFI specification 2.10, 5.3.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.hpp"
#include "partition/disk_layout.hpp"
#include "qimg/error.hpp"
#include "qimg/units.hpp"

namespace qimg::partition {

inline constexpr std::uint64_t gpt_entries_bytes_max = MiB;  // 8192 entries; 128 are usual

// CRC-32 as in ISO 3309, which UEFI refers to.
std::uint32_t crc32(std::span<const std::byte> bytes);

// The disk that tables are read from; behind its end everything reads as zeroes.
struct DiskReader {
    std::function<Result<void>(std::uint64_t at, std::span<std::byte> into)> read;
    std::uint64_t bytes = 0;
    std::uint64_t sector_bytes = 512;

    std::uint64_t sectors() const { return bytes / sector_bytes; }
};

struct GptCopy {
    disk::GptHeader header;
    Bytes whole_header;  // as long as it says: what this program knows, and what newer ones put behind it
    Bytes entries;

    disk::GptEntry entry(std::uint32_t index) const;
};

bool is_gpt(const disk::GptHeader& header);
bool is_used(const disk::GptEntry& entry);
// True for the MBR of a disk whose other sectors a GPT describes, and for one with entries of its own.
bool is_mbr(const disk::Mbr& mbr);

// Errors: of reading.
Result<disk::GptHeader> read_gpt_header(const DiskReader& disk, std::uint64_t sector);

// Nothing when the copy in that sector is broken: `broken` then says how, as what the header does or has.
Result<std::optional<GptCopy>> read_gpt_copy(const DiskReader& disk, std::uint64_t sector,
                                             std::string& broken);

// True when both describe the same partitions on the same disk.
bool says_the_same(const GptCopy& first, const GptCopy& backup);

}  // namespace qimg::partition
