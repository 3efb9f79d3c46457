// Reading an MBR and both copies of a GPT, and comparing them.
// SPDX-License-Identifier: Apache-2.0
#include "partition/tables.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "partition/gpt.hpp"

namespace qimg::partition {

namespace {

// The sectors of a partition, the last one included; it may be the last that 64 bits can say.
struct Sectors {
    std::uint64_t first;
    std::uint64_t last;
    std::string name;
};

class Tables {
  public:
    explicit Tables(DiskReader disk) : disk_(std::move(disk)) {}

    Result<std::vector<TableFault>> check();

  private:
    template <class... Args>
    void fault(TableRule rule, fmt::format_string<Args...> format, Args&&... args) {
        faults_.push_back({rule, fmt::format(format, std::forward<Args>(args)...)});
    }
    Result<bool> find_gpt();
    Result<std::optional<GptCopy>> read_copy(std::uint64_t sector, TableRule rule);
    Result<void> check_gpt();
    Result<void> check_backup(const GptCopy& first);
    void check_mbr(const disk::Mbr& mbr, bool has_gpt);
    void check_protection(const disk::Mbr& mbr, bool has_gpt);
    void check_partitions(std::vector<Sectors> partitions);
    std::vector<Sectors> partitions_of(const GptCopy& copy) const;

    DiskReader disk_;
    std::uint64_t sectors_ = 0;  // of the disk
    std::vector<TableFault> faults_;
};

// The first copy is in sector 1, of either size that disks have.
Result<bool> Tables::find_gpt() {
    bool found = false;
    for (const std::uint64_t bytes : {std::uint64_t{512}, std::uint64_t{4096}}) {
        disk_.sector_bytes = bytes;
        const disk::GptHeader header = TRY(read_gpt_header(disk_, 1));
        found = is_gpt(header);
        if (found) break;
    }
    if (!found) disk_.sector_bytes = 512;
    sectors_ = disk_.sectors();
    return found;
}

// Nothing when the copy is broken, which becomes a fault.
Result<std::optional<GptCopy>> Tables::read_copy(std::uint64_t sector, TableRule rule) {
    std::string broken;
    auto copy = TRY(read_gpt_copy(disk_, sector, broken));
    if (!copy) fault(rule, "the GPT header in sector {} {}", sector, broken);
    return copy;
}

std::vector<Sectors> Tables::partitions_of(const GptCopy& copy) const {
    std::vector<Sectors> partitions;
    for (std::uint32_t i = 0; i < copy.header.entries; ++i) {
        const disk::GptEntry entry = copy.entry(i);
        if (!is_used(entry)) continue;
        partitions.push_back({entry.first_sector, entry.last_sector, fmt::format("GPT partition {}", i + 1)});
    }
    return partitions;
}

Result<void> Tables::check_backup(const GptCopy& first) {
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
    const std::optional<GptCopy> backup = TRY(read_copy(at, TableRule::gpt_backup));
    if (!backup) return {};
    if (!says_the_same(first, *backup))
        fault(TableRule::gpt_backup, "the backup GPT in sector {} says other things than the first one", at);
    return {};
}

Result<void> Tables::check_gpt() {
    const std::optional<GptCopy> copy = TRY(read_copy(1, TableRule::gpt_whole));
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

Result<std::vector<TableFault>> Tables::check() {
    std::array<std::byte, sizeof(disk::Mbr)> raw;
    TRY(disk_.read(0, raw));
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
    return Tables({[&disk](std::uint64_t at, std::span<std::byte> into) {
                       return disk.read(HostOffset(at), into);
                   },
                   round_up(bytes, sector_bytes)})
        .check();
}

}  // namespace qimg::partition
