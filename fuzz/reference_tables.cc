// Quoted numbers are sections of the UEFI specification 2.10.
// SPDX-License-Identifier: Apache-2.0
#include "reference_tables.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

namespace qimg::fuzz {

namespace {

using partition::TableRule;

// Sums of sectors that fit 64 bits.
__extension__ using Wide = unsigned __int128;

// From first to last, both included; `first > last` is none at all.
struct Span {
    Wide first;
    Wide last;
};

class Judge {
  public:
    explicit Judge(std::span<const std::uint8_t> disk)
        : disk_(disk), disk_bytes_((disk.size() + 511) / 512 * 512) {}

    ReferenceVerdict run() {
        has_gpt_ = find_signature();
        judge_mbr();
        if (has_gpt_) judge_gpt();
        return verdict_;
    }

  private:
    struct Header {
        std::uint64_t at;  // of its sector, bytes
        std::vector<std::uint8_t> entries;
    };

    void blame(TableRule rule) { verdict_.broken.insert(rule); }
    // "All … values are little endian"; bytes that are not there are zeroes
    std::uint64_t number(std::uint64_t at, unsigned bytes) const {
        std::uint64_t value = 0;
        for (unsigned i = bytes; i-- > 0;)
            value = value << 8 | (at + i < disk_.size() ? disk_[at + i] : 0u);
        return value;
    }
    std::vector<std::uint8_t> copy(std::uint64_t at, std::uint64_t count) const {
        std::vector<std::uint8_t> bytes(count, 0);
        for (std::uint64_t i = 0; i < count && at + i < disk_.size(); ++i)
            bytes[i] = disk_[at + i];
        return bytes;
    }
    static std::uint32_t checksum(const std::vector<std::uint8_t>& bytes) {
        return static_cast<std::uint32_t>(::crc32(0, bytes.data(), static_cast<uInt>(bytes.size())));
    }

    // 5.3.1: "The primary GPT Header is located at LBA 1"
    bool find_signature() {
        for (const std::uint64_t bytes : {std::uint64_t{512}, std::uint64_t{4096}}) {
            sector_ = bytes;
            sectors_ = disk_bytes_ / bytes;
            const auto signature = copy(bytes, 8);
            if (std::memcmp(signature.data(), "EFI PART", 8) == 0) return true;
        }
        sector_ = 512;
        sectors_ = disk_bytes_ / sector_;
        return false;
    }

    // 5.2.1 and 5.2.3: the legacy and the protective MBR
    void judge_mbr() {
        bool is_mbr = number(510, 2) == 0xaa55;
        for (std::uint64_t i = 0; i < 4; ++i)
            is_mbr = is_mbr && (number(446 + i * 16, 1) & 0x7f) == 0;
        if (!is_mbr) {
            if (has_gpt_) blame(TableRule::mbr_fits_gpt);
            return;
        }
        std::optional<std::uint64_t> protective;
        std::vector<Span> partitions;
        for (std::uint64_t at = 446; at < 510; at += 16) {
            const std::uint64_t type = number(at + 4, 1);
            const Wide first = number(at + 8, 4);
            if (type == 0xee && !protective) protective = at;
            if (type != 0xee && type != 0) partitions.push_back({first, first + number(at + 12, 4) - 1});
        }
        if (protective.has_value() != has_gpt_) blame(TableRule::mbr_fits_gpt);
        if (protective && has_gpt_) {
            const std::uint64_t length = number(*protective + 12, 4);
            const bool is_whole = length == 0xffffffff || length == sectors_ - 1;
            if (number(*protective + 8, 4) != 1 || !is_whole) blame(TableRule::mbr_fits_gpt);
        }
        if (!has_gpt_) judge_partitions(partitions);
    }

    // 5.3.2: the checks of a header, one by one
    std::optional<Header> header_in(std::uint64_t sector) const {
        Header header{sector * sector_, {}};
        const std::uint64_t length = number(header.at + 12, 4);
        if (number(header.at, 8) != 0x5452415020494645 || length < 92 || length > sector_)
            return std::nullopt;
        auto bytes = copy(header.at, length);
        std::fill(bytes.begin() + 16, bytes.begin() + 20, std::uint8_t{0});
        if (checksum(bytes) != number(header.at + 16, 4) || number(header.at + 24, 8) != sector)
            return std::nullopt;
        const std::uint64_t entry = number(header.at + 84, 4);
        const std::uint64_t total = number(header.at + 80, 4) * entry;
        const Wide start = static_cast<Wide>(number(header.at + 72, 8)) * sector_;
        // not the specification's: no more than 1 MiB of them
        if (entry < 128 || entry % 8 != 0 || total > 1u << 20 || start >= sectors_ * sector_ ||
            start + total > disk_bytes_)
            return std::nullopt;
        header.entries = copy(static_cast<std::uint64_t>(start), total);
        if (checksum(header.entries) != number(header.at + 88, 4)) return std::nullopt;
        return header;
    }

    void judge_gpt() {
        const auto first = header_in(1);
        if (!first) return blame(TableRule::gpt_whole);
        judge_partitions(partitions_of(*first));
        const std::uint64_t other = number(first->at + 32, 8);
        if (other >= sectors_) return blame(TableRule::gpt_backup);
        if (other != sectors_ - 1) blame(TableRule::disk_end);
        const auto second = header_in(other);
        if (!second || number(second->at + 32, 8) != 1 || second->entries != first->entries)
            return blame(TableRule::gpt_backup);
        // first and last usable sector, GUID of the disk; number and size of entries
        const bool same = copy(second->at + 40, 32) == copy(first->at + 40, 32) &&
                          copy(second->at + 80, 8) == copy(first->at + 80, 8);
        if (!same) blame(TableRule::gpt_backup);
    }

    // 5.3.3: "A value of zero defines that this partition entry is not being used."
    std::vector<Span> partitions_of(const Header& header) const {
        std::vector<Span> partitions;
        const std::uint64_t size = number(header.at + 84, 4);
        for (std::uint64_t at = 0; at < header.entries.size(); at += size) {
            const auto* const entry = header.entries.data() + at;
            if (std::all_of(entry, entry + 16, [](std::uint8_t byte) { return byte == 0; })) continue;
            std::uint64_t first = 0;
            std::uint64_t last = 0;
            for (unsigned i = 8; i-- > 0;) {
                first = first << 8 | entry[32 + i];
                last = last << 8 | entry[40 + i];
            }
            partitions.push_back({first, last});
        }
        return partitions;
    }

    void judge_partitions(const std::vector<Span>& partitions) {
        for (std::size_t i = 0; i < partitions.size(); ++i) {
            const Span& one = partitions[i];
            // a length of zero wraps around
            const bool is_inverted = one.last + 1 <= one.first;
            verdict_.has_inverted = verdict_.has_inverted || is_inverted;
            if (is_inverted || one.last >= sectors_) blame(TableRule::inside_disk);
            for (std::size_t j = 0; j < i; ++j) {
                const Span& other = partitions[j];
                if (std::max(one.first, other.first) <= std::min(one.last, other.last))
                    blame(TableRule::no_overlap);
            }
        }
    }

    std::span<const std::uint8_t> disk_;
    // a sector that the file ends within is a whole one to guests
    std::uint64_t disk_bytes_;
    std::uint64_t sector_ = 512;
    std::uint64_t sectors_ = 0;
    bool has_gpt_ = false;
    ReferenceVerdict verdict_;
};

}  // namespace

ReferenceVerdict judge_tables(std::span<const std::uint8_t> disk) {
    return Judge(disk).run();
}

}  // namespace qimg::fuzz
