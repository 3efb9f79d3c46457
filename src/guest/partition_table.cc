// Reading the tables of a disk, with no more trust than Linux has in them.
// SPDX-License-Identifier: Apache-2.0
#include "guest/partition_table.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "guest/utf16.hpp"

namespace qimg::guest {

namespace {

namespace disk = partition::disk;
using partition::GptCopy;
using partition::is_gpt;
using partition::is_used;

constexpr std::uint64_t free_space_bytes_min = MiB;  // less is what alignment leaves
constexpr unsigned logical_partitions_max = 128;
constexpr std::uint64_t mbr_sectors_max = 0xffffffff;  // what its fields can say
constexpr std::uint64_t gpt_backup_sectors = 33;

Space space_between(std::uint64_t start, std::uint64_t end) {
    return {start, end > start ? end - start : 0};
}

// The parts of `whole` that none of `taken` covers, if they are large enough.
void add_gaps(Space whole, std::vector<Space> taken, std::vector<Space>& gaps) {
    const std::uint64_t end = whole.start + whole.bytes;
    taken.push_back({end, 0});
    std::ranges::sort(taken, {}, &Space::start);
    std::uint64_t at = whole.start;
    for (const Space& one : taken) {
        const Space gap = space_between(at, std::min(one.start, end));
        if (gap.bytes >= free_space_bytes_min) gaps.push_back(gap);
        at = std::max(at, one.start + one.bytes);
    }
}

// FAT and NTFS begin with a jump and the geometry of the disk, where an MBR has code.
bool is_boot_sector(std::span<const std::byte> sector) {
    const auto byte = [&](std::size_t at) { return std::to_integer<unsigned>(sector[at]); };
    const unsigned bytes_per_sector = byte(11) | byte(12) << 8;
    const bool jumps = byte(0) == 0xe9 || (byte(0) == 0xeb && byte(2) == 0x90);
    return jumps && bytes_per_sector >= 512 && bytes_per_sector <= 4096 &&
           (bytes_per_sector & (bytes_per_sector - 1)) == 0;
}

class TableReader {
  public:
    TableReader(const Volume& disk) : disk_(disk_reader(disk, sector_bytes)) {}

    Result<PartitionTable> read();

  private:
    template <class... Args>
    void note(bool stops_growing, fmt::format_string<Args...> format, Args&&... args) {
        table_.notes.push_back({fmt::format(format, std::forward<Args>(args)...), stops_growing});
    }
    // Adds it when it lies inside `limits`, in sectors.
    bool add(Partition partition, std::uint64_t first, std::uint64_t sectors, Space limits);
    Result<void> read_mbr(const disk::Mbr& mbr);
    Result<void> read_logical(const Partition& extended);
    Result<void> read_gpt(const disk::Mbr& mbr);
    Result<std::optional<GptCopy>> find_gpt();
    Result<std::optional<GptCopy>> read_copy(std::uint64_t sector, std::string_view which,
                                             bool stops_growing);
    Result<void> check_backup(const GptCopy& first);
    void take_entries(const GptCopy& copy);
    void check_overlaps();
    void find_free_space();

    partition::DiskReader disk_;
    PartitionTable table_;
};

bool TableReader::add(Partition partition, std::uint64_t first, std::uint64_t sectors, Space limits) {
    if (sectors == 0 || first < limits.start || !fits_within(first - limits.start, sectors, limits.bytes)) {
        note(true, "partition {} does not lie inside {}", partition.number,
             partition.role == PartitionRole::logical ? "the extended partition" : "the disk");
        return false;
    }
    partition.start = first * disk_.sector_bytes;
    partition.bytes = sectors * disk_.sector_bytes;
    table_.partitions.push_back(std::move(partition));
    return true;
}

Partition mbr_partition(const disk::MbrEntry& entry, unsigned number, PartitionRole role) {
    Partition partition;
    partition.number = number;
    partition.role = role;
    partition.type = fmt::format("{:#04x}", entry.type);
    partition.type_name = mbr_type_name(entry.type);
    partition.attributes = entry.boot_flag;
    return partition;
}

Result<void> TableReader::read_mbr(const disk::Mbr& mbr) {
    table_.kind = TableKind::mbr;
    const auto id = load<le32>(std::as_bytes(std::span(mbr.boot_code)).subspan(440));
    table_.id = fmt::format("{:08x}", +id);
    const std::uint64_t sectors = std::min(disk_.sectors(), mbr_sectors_max);
    table_.usable_start = sector_bytes;
    // room for a GPT's second copy, as growpart leaves it: the table can be converted later
    table_.usable_end = (sectors - std::min(sectors, gpt_backup_sectors)) * sector_bytes;
    for (unsigned i = 0; i < mbr.entries.size(); ++i) {
        const disk::MbrEntry& entry = mbr.entries[i];
        if (entry.type == 0 || entry.sectors == 0) continue;
        const bool is_extended = is_extended_type(entry.type);
        if (is_extended && table_.extended() != nullptr) {
            note(true, "there is more than one extended partition");
            continue;
        }
        const auto role = is_extended ? PartitionRole::extended : PartitionRole::ordinary;
        add(mbr_partition(entry, i + 1, role), entry.first_sector, entry.sectors, {1, disk_.sectors() - 1});
    }
    if (const Partition* const extended = table_.extended()) {
        const Partition copy = *extended;
        TRY(read_logical(copy));
    }
    return {};
}

// A chain of boot records, each with one partition and the place of the next record.
Result<void> TableReader::read_logical(const Partition& extended) {
    const Space limits{extended.start / sector_bytes, extended.bytes / sector_bytes};
    std::set<std::uint64_t> seen;
    unsigned number = 5;
    for (std::uint64_t record = limits.start;;) {
        if (!seen.insert(record).second || seen.size() > logical_partitions_max) {
            note(true, "the chain of logical partitions has no end");
            return {};
        }
        std::array<std::byte, sizeof(disk::Mbr)> raw;
        TRY(disk_.read(record * sector_bytes, raw));
        const auto mbr = load<disk::Mbr>(raw);
        if (!partition::is_mbr(mbr)) {
            note(true, "the chain of logical partitions breaks off in sector {}", record);
            return {};
        }
        std::optional<std::uint64_t> next;
        for (const disk::MbrEntry& entry : std::span(mbr.entries).first(2)) {
            if (entry.type == 0 || entry.sectors == 0) continue;
            if (is_extended_type(entry.type)) {
                if (!next) next = limits.start + entry.first_sector;
                continue;
            }
            Partition partition = mbr_partition(entry, number, PartitionRole::logical);
            partition.record = record * sector_bytes;
            if (add(std::move(partition), record + entry.first_sector, entry.sectors, limits)) ++number;
        }
        if (!next) return {};
        record = *next;
        if (record - limits.start >= limits.bytes) {
            note(true, "the chain of logical partitions leads out of the extended partition");
            return {};
        }
    }
}

Result<std::optional<GptCopy>> TableReader::read_copy(std::uint64_t sector, std::string_view which,
                                                      bool stops_growing) {
    std::string broken;
    auto copy = TRY(read_gpt_copy(disk_, sector, broken));
    if (!copy) note(stops_growing, "the {} of the GPT, in sector {}, {}", which, sector, broken);
    return copy;
}

// The first copy in sector 1 of either size that disks have, or else the one in the last sector.
Result<std::optional<GptCopy>> TableReader::find_gpt() {
    constexpr std::uint64_t sizes[] = {512, 4096};
    for (const std::uint64_t bytes : sizes) {
        disk_.sector_bytes = bytes;
        if (disk_.sectors() < 3) break;
        const disk::GptHeader header = TRY(read_gpt_header(disk_, 1));
        if (!is_gpt(header)) continue;
        auto first = TRY(read_copy(1, "first copy", true));
        if (first) return first;
        return read_copy(disk_.sectors() - 1, "second copy", true);
    }
    for (const std::uint64_t bytes : sizes) {
        disk_.sector_bytes = bytes;
        if (disk_.sectors() < 3) break;
        const disk::GptHeader header = TRY(read_gpt_header(disk_, disk_.sectors() - 1));
        if (!is_gpt(header)) continue;
        note(true, "the first copy of the GPT is missing");
        return read_copy(disk_.sectors() - 1, "second copy", true);
    }
    disk_.sector_bytes = sector_bytes;
    note(true, "the MBR says that there is a GPT, but there is none");
    return std::nullopt;
}

Result<void> TableReader::check_backup(const GptCopy& first) {
    const std::uint64_t at = first.header.other_sector;
    if (at >= disk_.sectors()) {
        note(false, "the second copy of the GPT is lost: it was in sector {}", at);
        return {};
    }
    if (at != disk_.sectors() - 1) {
        note(false, "the disk goes on behind the GPT, which ends in sector {} of {}", at, disk_.sectors());
    }
    const auto backup = TRY(read_copy(at, "second copy", false));
    if (backup && !says_the_same(first, *backup)) note(true, "the two copies of the GPT differ");
    return {};
}

void TableReader::take_entries(const GptCopy& copy) {
    for (std::uint32_t i = 0; i < copy.header.entries; ++i) {
        const disk::GptEntry entry = copy.entry(i);
        if (!is_used(entry)) continue;
        Partition partition;
        partition.number = i + 1;
        partition.type = guid_text(entry.type);
        partition.type_name = gpt_type_name(partition.type);
        partition.name = printable(utf8_of(entry.name));
        partition.guid = guid_text(entry.guid);
        partition.attributes = entry.attributes;
        const std::uint64_t first = entry.first_sector;
        const std::uint64_t last = entry.last_sector;
        const bool is_range = last >= first && last - first < disk_.sectors();
        const bool is_usable =
            first >= copy.header.first_usable && last < table_.usable_end / disk_.sector_bytes;
        if (!is_usable) note(true, "partition {} lies where the GPT has no room for partitions", i + 1);
        add(std::move(partition), first, is_range ? last - first + 1 : 0, {1, disk_.sectors() - 1});
    }
}

Result<void> TableReader::read_gpt(const disk::Mbr& mbr) {
    table_.kind = TableKind::gpt;
    const auto is_other = [](const auto& entry) {
        return entry.type != 0 && entry.type != disk::mbr_protective;
    };
    if (std::ranges::any_of(mbr.entries, is_other))
        note(true, "the MBR lists partitions of its own beside the GPT (hybrid MBR)");
    const auto copy = TRY(find_gpt());
    table_.sector_bytes = disk_.sector_bytes;
    if (!copy) return {};
    const disk::GptHeader& header = copy->header;
    table_.id = guid_text(header.disk_guid);
    if (header.own_sector == 1) TRY(check_backup(*copy));

    const std::uint64_t entry_sectors = divide_up(copy->entries.size(), disk_.sector_bytes);
    const std::uint64_t last_possible = disk_.sectors() - std::min(disk_.sectors(), entry_sectors + 2);
    const bool is_table_before =
        header.own_sector != 1 ||
        (header.entries_sector > 1 && header.entries_sector + entry_sectors <= header.first_usable);
    if (header.first_usable > header.last_usable || header.last_usable > last_possible || !is_table_before) {
        note(
            true,
            "the GPT says that partitions may lie in sectors {} to {}, where it lies itself or the disk ends",
            +header.first_usable, +header.last_usable);
    }
    const bool is_at_end =
        std::max<std::uint64_t>(header.own_sector, header.other_sector) == disk_.sectors() - 1;
    table_.usable_start = std::min<std::uint64_t>(header.first_usable, disk_.sectors()) * disk_.sector_bytes;
    const std::uint64_t last =
        is_at_end ? std::min<std::uint64_t>(header.last_usable, last_possible) : last_possible;
    table_.usable_end = (last + 1) * disk_.sector_bytes;
    take_entries(*copy);
    return {};
}

// Of partitions, and of records and partitions inside the extended one.
void TableReader::check_overlaps() {
    for (const bool logical : {false, true}) {
        std::vector<std::pair<Space, unsigned>> taken;
        for (const Partition& one : table_.partitions) {
            if ((one.role == PartitionRole::logical) != logical) continue;
            taken.push_back({{one.start, one.bytes}, one.number});
            if (logical) taken.push_back({{one.record, sector_bytes}, one.number});
        }
        std::ranges::sort(taken, {}, [](const auto& entry) { return entry.first.start; });
        for (std::size_t i = 1; i < taken.size(); ++i) {
            const auto& [before, number] = taken[i - 1];
            if (before.start + before.bytes <= taken[i].first.start) continue;
            note(true, "partitions {} and {} overlap", number, taken[i].second);
            return;
        }
    }
}

void TableReader::find_free_space() {
    std::vector<Space> taken;
    std::vector<Space> logical;
    for (const Partition& one : table_.partitions) {
        if (one.role == PartitionRole::logical) {
            logical.push_back({one.start, one.bytes});
            logical.push_back({one.record, sector_bytes});
        } else {
            taken.push_back({one.start, one.bytes});
        }
    }
    add_gaps(space_between(table_.usable_start, table_.usable_end), std::move(taken), table_.free_space);
    if (const Partition* const extended = table_.extended()) {
        const Space inside{extended->start + sector_bytes, extended->bytes - sector_bytes};
        add_gaps(inside, std::move(logical), table_.free_space);
    }
    std::ranges::sort(table_.free_space, {}, &Space::start);
}

Result<PartitionTable> TableReader::read() {
    table_.usable_end = disk_.bytes;
    if (disk_.sectors() < 2) return std::move(table_);
    std::array<std::byte, sizeof(disk::Mbr)> raw;
    TRY(disk_.read(0, raw));
    const auto mbr = load<disk::Mbr>(raw);
    const auto has_entry = [&](auto&& rule) { return std::ranges::any_of(mbr.entries, rule); };
    const bool is_mbr = partition::is_mbr(mbr);
    const bool is_empty = !has_entry([](const auto& entry) { return entry.type != 0 && entry.sectors != 0; });
    if (!is_mbr || (is_empty && is_boot_sector(raw))) {
        const disk::GptHeader header = TRY(read_gpt_header(disk_, 1));
        if (is_gpt(header)) note(true, "there is a GPT, but no MBR that says so: Linux does not look at it");
        return std::move(table_);
    }
    if (has_entry([](const auto& entry) { return entry.type == disk::mbr_protective; })) {
        TRY(read_gpt(mbr));
    } else {
        TRY(read_mbr(mbr));
    }
    check_overlaps();
    find_free_space();
    return std::move(table_);
}

}  // namespace

std::uint64_t PartitionTable::room_end(const Partition& partition) const {
    const bool is_logical = partition.role == PartitionRole::logical;
    std::uint64_t end = usable_end;
    bool is_last = true;
    for (const Partition& other : partitions) {
        if ((other.role == PartitionRole::logical) != is_logical) continue;
        const std::uint64_t start = is_logical ? std::min(other.start, other.record) : other.start;
        if (start < partition.end()) continue;
        end = is_last ? start : std::min(end, start);
        is_last = false;
    }
    if (is_logical && is_last && extended() != nullptr) end = room_end(*extended());
    return std::max(end, partition.end());
}

const Partition* PartitionTable::find(unsigned number) const {
    const auto found = std::ranges::find(partitions, number, &Partition::number);
    return found != partitions.end() ? &*found : nullptr;
}

const Partition* PartitionTable::extended() const {
    const auto found = std::ranges::find(partitions, PartitionRole::extended, &Partition::role);
    return found != partitions.end() ? &*found : nullptr;
}

partition::DiskReader disk_reader(const Volume& disk, std::uint64_t sector_bytes) {
    const auto read = [&disk](std::uint64_t at, std::span<std::byte> into) -> Result<void> {
        const std::uint64_t inside =
            at < disk.size() ? std::min<std::uint64_t>(disk.size() - at, into.size()) : 0;
        if (inside != 0) TRY(disk.read(at, into.first(inside)));
        std::ranges::fill(into.subspan(inside), std::byte{0});
        return {};
    };
    return {read, disk.size(), sector_bytes};
}

Result<PartitionTable> read_partition_table(const Volume& disk) {
    return TableReader(disk).read();
}

}  // namespace qimg::guest
