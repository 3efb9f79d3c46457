// Reading an MBR and both copies of a GPT, and comparing them.
// SPDX-License-Identifier: Apache-2.0
#include "partition/tables.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>

#include "base/bytes.hpp"
#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "partition/disk_layout.hpp"

namespace qimg::partition {

namespace {

constexpr std::uint64_t entries_bytes_max = MiB;  // 8192 entries; 128 are usual

// The sectors of a partition, the last one included; it may be the last that 64 bits can say.
struct Sectors {
    std::uint64_t first;
    std::uint64_t last;
    std::string name;
};

// CRC-32 as in ISO 3309, which UEFI refers to.
std::uint32_t crc32(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~0u;
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

class Tables {
  public:
    Tables(const Storage& disk, std::uint64_t disk_bytes) : disk_(disk), disk_bytes_(disk_bytes) {}

    Result<std::vector<TableFault>> check();

  private:
    struct Copy {
        disk::GptHeader header;
        Bytes entries;
    };

    template <class... Args>
    void fault(TableRule rule, fmt::format_string<Args...> format, Args&&... args) {
        faults_.push_back({rule, fmt::format(format, std::forward<Args>(args)...)});
    }
    Result<disk::GptHeader> read_header(std::uint64_t sector) const;
    Result<bool> find_gpt();
    Result<std::optional<Copy>> read_copy(std::uint64_t sector, TableRule rule);
    Result<void> check_gpt();
    Result<void> check_backup(const Copy& first);
    void check_mbr(const disk::Mbr& mbr, bool has_gpt);
    void check_protection(const disk::Mbr& mbr, bool has_gpt);
    void check_partitions(std::vector<Sectors> partitions);
    std::vector<Sectors> partitions_of(const Copy& copy) const;

    const Storage& disk_;
    std::uint64_t disk_bytes_;
    std::uint64_t sector_bytes_ = 512;
    std::uint64_t sectors_ = 0;  // of the disk
    std::vector<TableFault> faults_;
};

bool is_gpt(const disk::GptHeader& header) {
    return std::string_view(header.signature.data(), header.signature.size()) == disk::gpt_signature;
}

Result<disk::GptHeader> Tables::read_header(std::uint64_t sector) const {
    std::array<std::byte, sizeof(disk::GptHeader)> raw;
    TRY(disk_.read(HostOffset(sector * sector_bytes_), raw));
    return load<disk::GptHeader>(raw);
}

// The first copy is in sector 1, of either size that disks have.
Result<bool> Tables::find_gpt() {
    bool found = false;
    for (const std::uint64_t bytes : {std::uint64_t{512}, std::uint64_t{4096}}) {
        sector_bytes_ = bytes;
        const disk::GptHeader header = TRY(read_header(1));
        found = is_gpt(header);
        if (found) break;
    }
    if (!found) sector_bytes_ = 512;
    sectors_ = disk_bytes_ / sector_bytes_;
    return found;
}

// Nothing when the copy is broken, which becomes a fault.
Result<std::optional<Tables::Copy>> Tables::read_copy(std::uint64_t sector, TableRule rule) {
    Copy copy;
    copy.header = TRY(read_header(sector));
    const disk::GptHeader& header = copy.header;
    const auto broken = [&](std::string_view what) {
        fault(rule, "the GPT header in sector {} {}", sector, what);
        return std::optional<Copy>();
    };
    if (!is_gpt(header)) return broken("is missing");
    if (header.header_bytes < sizeof(header) || header.header_bytes > sector_bytes_)
        return broken("has an impossible length");
    Bytes whole(header.header_bytes);
    TRY(disk_.read(HostOffset(sector * sector_bytes_), whole));
    store(std::span(whole).subspan(offsetof(disk::GptHeader, header_crc)), le32(0));
    if (crc32(whole) != header.header_crc) return broken("has a wrong checksum");
    if (header.own_sector != sector) return broken("says that it is elsewhere");
    const std::uint64_t bytes = std::uint64_t{header.entries} * header.entry_bytes;
    if (header.entry_bytes < sizeof(disk::GptEntry) || header.entry_bytes % 8 != 0 ||
        bytes > entries_bytes_max)
        return broken("has an impossible number or size of entries");
    if (header.entries_sector >= sectors_ ||
        !fits_within(header.entries_sector * sector_bytes_, bytes, disk_bytes_))
        return broken("has its entries past the end of the disk");
    copy.entries.resize(bytes);
    TRY(disk_.read(HostOffset(header.entries_sector * sector_bytes_), copy.entries));
    if (crc32(copy.entries) != header.entries_crc) return broken("does not have the checksum of its entries");
    return copy;
}

std::vector<Sectors> Tables::partitions_of(const Copy& copy) const {
    std::vector<Sectors> partitions;
    for (std::uint32_t i = 0; i < copy.header.entries; ++i) {
        const auto raw = std::span(copy.entries).subspan(std::size_t{i} * copy.header.entry_bytes);
        const auto entry = load<disk::GptEntry>(raw);
        if (std::ranges::all_of(entry.type, [](std::uint8_t byte) { return byte == 0; })) continue;
        partitions.push_back({entry.first_sector, entry.last_sector, fmt::format("GPT partition {}", i + 1)});
    }
    return partitions;
}

Result<void> Tables::check_backup(const Copy& first) {
    const std::uint64_t at = first.header.other_sector;
    if (at >= sectors_) {
        fault(TableRule::gpt_backup, "the backup GPT is in sector {}, but the disk has only {}", at,
              sectors_);
        return {};
    }
    if (at != sectors_ - 1) {
        fault(TableRule::disk_end, "the disk goes on behind the backup GPT in sector {}, up to sector {}", at,
              sectors_ - 1);
    }
    const std::optional<Copy> backup = TRY(read_copy(at, TableRule::gpt_backup));
    if (!backup) return {};
    const disk::GptHeader& a = first.header;
    const disk::GptHeader& b = backup->header;
    const bool same = b.other_sector == a.own_sector && b.disk_guid == a.disk_guid &&
                      b.first_usable == a.first_usable && b.last_usable == a.last_usable &&
                      b.entries == a.entries && b.entry_bytes == a.entry_bytes &&
                      backup->entries == first.entries;
    if (!same)
        fault(TableRule::gpt_backup, "the backup GPT in sector {} says other things than the first one", at);
    return {};
}

Result<void> Tables::check_gpt() {
    const std::optional<Copy> copy = TRY(read_copy(1, TableRule::gpt_whole));
    if (!copy) return {};
    check_partitions(partitions_of(*copy));
    return check_backup(*copy);
}

void Tables::check_partitions(std::vector<Sectors> partitions) {
    std::ranges::stable_sort(partitions, {}, &Sectors::first);
    const Sectors* furthest = nullptr;  // of those before
    for (const Sectors& one : partitions) {
        if (one.last >= sectors_ || one.last < one.first) {
            fault(TableRule::inside_disk, "{} is sectors {} to {}, but the disk has only {}", one.name,
                  one.first, one.last, sectors_);
        }
        if (furthest != nullptr && one.first <= furthest->last)
            fault(TableRule::no_overlap, "{} and {} overlap", furthest->name, one.name);
        if (furthest == nullptr || one.last > furthest->last) furthest = &one;
    }
}

void Tables::check_protection(const disk::Mbr& mbr, bool has_gpt) {
    const auto found = std::ranges::find(mbr.entries, disk::mbr_protective, &disk::MbrEntry::type);
    const bool says_gpt = found != mbr.entries.end();
    if (says_gpt != has_gpt) {
        fault(TableRule::mbr_fits_gpt, "{}",
              has_gpt ? "there is a GPT, but the MBR does not say so"
                      : "the MBR says that there is a GPT, but there is none");
        return;
    }
    if (!says_gpt) return;
    // the whole disk, or all that 32 bits can say
    const std::uint64_t wanted = std::min<std::uint64_t>(sectors_ - 1, 0xffffffff);
    if (found->first_sector == 1 && (found->sectors == wanted || found->sectors == 0xffffffff)) return;
    fault(TableRule::mbr_fits_gpt, "the MBR protects sectors {} to {} of a disk of {}", +found->first_sector,
          std::uint64_t{found->first_sector} + found->sectors - 1, sectors_);
}

void Tables::check_mbr(const disk::Mbr& mbr, bool has_gpt) {
    check_protection(mbr, has_gpt);
    std::vector<Sectors> partitions;
    for (const disk::MbrEntry& entry : mbr.entries) {
        // with a GPT, other entries repeat what that has
        if (entry.type == 0 || has_gpt || entry.type == disk::mbr_protective) continue;
        const std::uint64_t first = entry.first_sector;
        partitions.push_back({first, first + entry.sectors - 1,
                              fmt::format("MBR partition {}", &entry - mbr.entries.data() + 1)});
    }
    check_partitions(std::move(partitions));
}

// A boot sector ends in the same two bytes, with code where the entries would be.
bool is_mbr(const disk::Mbr& mbr) {
    return mbr.signature == disk::mbr_signature && std::ranges::all_of(mbr.entries, [](const auto& entry) {
               return entry.boot_flag == 0 || entry.boot_flag == 0x80;
           });
}

Result<std::vector<TableFault>> Tables::check() {
    std::array<std::byte, sizeof(disk::Mbr)> raw;
    TRY(disk_.read(HostOffset(0), raw));
    const auto mbr = load<disk::Mbr>(raw);
    const bool has_gpt = TRY(find_gpt());
    if (is_mbr(mbr)) {
        check_mbr(mbr, has_gpt);
    } else if (has_gpt) {
        fault(TableRule::mbr_fits_gpt, "there is a GPT, but no MBR that says so");
    }
    if (has_gpt) TRY(check_gpt());
    return std::move(faults_);
}

}  // namespace

Result<std::vector<TableFault>> check_tables(const Storage& disk) {
    const std::uint64_t bytes = TRY(disk.size());
    // guests see whole sectors
    return Tables(disk, round_up(bytes, sector_bytes)).check();
}

}  // namespace qimg::partition
