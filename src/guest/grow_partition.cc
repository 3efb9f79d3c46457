// Choosing a partition, and writing tables anew.
//
// A partition ends where growpart(1) would let it end: with the last sector that a GPT leaves for partitions, in an
// MBR as far from the disk's end as a GPT converted from it would need.
// SPDX-License-Identifier: Apache-2.0
#include "guest/grow_partition.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::guest {

namespace {

namespace disk = partition::disk;
using partition::GptCopy;
using partition::is_gpt;

constexpr std::uint64_t gain_bytes_min = MiB;  // less is what alignment leaves, as growpart(1) has it

constexpr std::string_view raid_gpt = "a19d880f-05fc-4d3b-a006-743f0f84911e";
constexpr std::string_view raid_mbr = "0xfd";

// Never worth growing by itself, though it may be the last on the disk.
bool is_of_fixed_size(const Partition& partition) {
    constexpr std::string_view names[] = {"EFI system",  "BIOS boot",          "PowerPC PReP boot",
                                          "Linux swap",  "Microsoft reserved", "Windows recovery",
                                          "Linux /boot", "FreeBSD boot",       "FreeBSD swap"};
    return std::ranges::find(names, partition.type_name) != std::end(names);
}

bool can_grow(const PartitionTable& table, const Partition& partition) {
    return grown_bytes(table, partition) > partition.bytes;
}

bool is_raid(const Partition& partition) {
    return partition.type == raid_gpt || partition.type == raid_mbr;
}

bool is_candidate(const Partition& partition) {
    return partition.role != PartitionRole::extended && !is_of_fixed_size(partition) && !is_raid(partition);
}

// What fills the disk already is a choice like one that can grow: asked again, the answer is the same.
const Partition* automatic_choice(const PartitionTable& table) {
    const Partition* root = nullptr;
    const Partition* last = nullptr;
    const Partition* largest = nullptr;
    for (const Partition& one : table.partitions) {
        if (!is_candidate(one)) continue;
        if (is_root_type(one.type) && root == nullptr) root = &one;
        if (last == nullptr || one.start > last->start) last = &one;
        if (can_grow(table, one) && (largest == nullptr || one.bytes > largest->bytes)) largest = &one;
    }
    for (const Partition* const one : {root, last}) {
        if (one != nullptr && (can_grow(table, *one) || table.room_end(*one) >= table.usable_end)) return one;
    }
    if (largest != nullptr) return largest;
    return root != nullptr ? root : last;
}

// Cylinder, head and sector for the geometry that programs assume; those past what the field can say are its end.
std::array<std::uint8_t, 3> chs_of(std::uint64_t sector) {
    constexpr std::uint64_t heads = 255;
    constexpr std::uint64_t per_track = 63;
    const std::uint64_t cylinder = sector / (heads * per_track);
    if (cylinder > 1023) return {0xfe, 0xff, 0xff};
    const std::uint64_t low = sector % per_track + 1;
    return {static_cast<std::uint8_t>(sector / per_track % heads),
            static_cast<std::uint8_t>(low | (cylinder >> 8 << 6)), static_cast<std::uint8_t>(cylinder)};
}

// Changes the one entry of a boot record that `is_it` recognises; false when there is none.
template <class Rule>
Result<bool> change_entry(Volume& volume, std::uint64_t record, Rule is_it, std::uint64_t base,
                          std::uint64_t end) {
    std::array<std::byte, sizeof(disk::Mbr)> raw;
    TRY(volume.read(record, raw));
    auto mbr = load<disk::Mbr>(raw);
    const auto found = std::ranges::find_if(mbr.entries, is_it);
    if (found == mbr.entries.end()) return false;
    const std::uint64_t first = base / sector_bytes + found->first_sector;
    found->sectors = static_cast<std::uint32_t>(end / sector_bytes - first);
    found->last_chs = chs_of(end / sector_bytes - 1);
    store(std::span<std::byte>(raw), mbr);
    TRY(volume.write(record, raw));
    return true;
}

// The record in front of that of `logical` says how far both reach, too.
Result<void> stretch_link(Volume& volume, const PartitionTable& table, const Partition& logical,
                          std::uint64_t end) {
    const std::uint64_t base = table.extended()->start;
    const auto leads_there = [&](const disk::MbrEntry& entry) {
        return is_extended_type(entry.type) && entry.sectors != 0 &&
               base + entry.first_sector * sector_bytes == logical.record;
    };
    for (const Partition& other : table.partitions) {
        if (other.role == PartitionRole::logical && other.record != logical.record)
            TRY(change_entry(volume, other.record, leads_there, base, end));
    }
    // a chain may begin with a record without a partition; to the first record leads the MBR
    TRY(change_entry(volume, base, leads_there, base, end));
    return {};
}

Result<void> grow_in_mbr(Volume& volume, const PartitionTable& table, const Partition& partition,
                         std::uint64_t end) {
    const auto is_at = [](std::uint64_t base, std::uint64_t start) {
        return [=](const disk::MbrEntry& entry) {
            return entry.type != 0 && entry.sectors != 0 && base + entry.first_sector * sector_bytes == start;
        };
    };
    if (partition.role != PartitionRole::logical) {
        TRY(change_entry(volume, 0, is_at(0, partition.start), 0, end));
        return {};
    }
    const Partition& extended = *table.extended();
    // from the outside in: whatever of it arrives, no part reaches further than what holds it
    if (end > extended.end()) TRY(change_entry(volume, 0, is_at(0, extended.start), 0, end));
    TRY(stretch_link(volume, table, partition, end));
    TRY(change_entry(volume, partition.record, is_at(partition.record, partition.start), partition.record,
                     end));
    return {};
}

// The MBR in front of a GPT, which covers the disk or all that 32 bits can say.
Result<void> stretch_protection(Volume& volume, std::uint64_t sectors) {
    std::array<std::byte, sizeof(disk::Mbr)> raw;
    TRY(volume.read(0, raw));
    auto mbr = load<disk::Mbr>(raw);
    const auto found = std::ranges::find(mbr.entries, disk::mbr_protective, &disk::MbrEntry::type);
    const std::uint64_t reach = std::min<std::uint64_t>(sectors - 1, 0xffffffff);
    if (found->first_sector != 1 || found->sectors == reach) return {};
    found->sectors = static_cast<std::uint32_t>(reach);
    found->last_chs = {0xff, 0xff, 0xff};  // "not representable", which small disks may say, too
    store(std::span<std::byte>(raw), mbr);
    return volume.write(0, raw);
}

class GptWriter {
  public:
    GptWriter(Volume& volume, std::uint64_t sector_bytes, GptCopy copy)
        : volume_(volume),
          sector_bytes_(sector_bytes),
          sectors_(volume.size() / sector_bytes),
          copy_(std::move(copy)) {}

    void extend(std::uint32_t index, std::uint64_t end) {
        disk::GptEntry entry = copy_.entry(index);
        entry.last_sector = end / sector_bytes_ - 1;
        store(std::span(copy_.entries).subspan(std::size_t{index} * copy_.header.entry_bytes), entry);
    }

    // The old second copy, which is no part of the table any more, then both.
    Result<void> write() {
        disk::GptHeader header = copy_.header;
        const std::uint64_t last = sectors_ - 1;
        const std::uint64_t entry_sectors = divide_up(copy_.entries.size(), sector_bytes_);
        if (header.other_sector != last) {
            TRY(forget_backup(header.other_sector));
            header.last_usable = last - entry_sectors - 1;
        }
        header.other_sector = last;
        header.entries_crc = partition::crc32(copy_.entries);
        const std::uint64_t first_entries = header.entries_sector;
        TRY(write_copy(header, first_entries));
        std::swap(header.own_sector, header.other_sector);
        return write_copy(header, last - entry_sectors);
    }

  private:
    // Where it really was one; what else lies there is somebody's.
    Result<void> forget_backup(std::uint64_t sector) {
        if (sector <= 1 || sector >= sectors_) return {};
        const auto header = TRY(read_gpt_header(disk_reader(volume_, sector_bytes_), sector));
        if (!is_gpt(header) || header.own_sector != sector) return {};
        return volume_.write_zeroes(sector * sector_bytes_, sector_bytes_);
    }

    Result<void> write_copy(disk::GptHeader header, std::uint64_t entries_sector) {
        header.entries_sector = entries_sector;
        header.header_crc = 0;
        Bytes whole = copy_.whole_header;
        store(std::span(whole), header);
        header.header_crc = partition::crc32(whole);
        store(std::span(whole), header);
        whole.resize(sector_bytes_);
        TRY(volume_.write(header.entries_sector * sector_bytes_, copy_.entries));
        return volume_.write(header.own_sector * sector_bytes_, whole);
    }

    Volume& volume_;
    std::uint64_t sector_bytes_;
    std::uint64_t sectors_;
    GptCopy copy_;
};

Result<void> grow_in_gpt(Volume& volume, const PartitionTable& table, const Partition& partition,
                         std::uint64_t end) {
    std::string broken;
    auto copy = TRY(read_gpt_copy(disk_reader(volume, table.sector_bytes), 1, broken));
    if (!copy) return failf(ErrorKind::corrupt, "the first copy of the GPT {}", broken);
    GptWriter writer(volume, table.sector_bytes, std::move(*copy));
    if (end > partition.end()) writer.extend(partition.number - 1, end);
    TRY(writer.write());
    return stretch_protection(volume, volume.size() / table.sector_bytes);
}

}  // namespace

Result<const Partition*> choose_partition(const PartitionTable& table, std::optional<unsigned> number) {
    if (number) {
        const Partition* const named = table.find(*number);
        if (named == nullptr) return failf(ErrorKind::not_found, "there is no partition {}", *number);
        if (named->role == PartitionRole::extended) {
            return failf(ErrorKind::unsupported,
                         "partition {} is an extended one, which grows with the logical ones in it", *number);
        }
        if (is_raid(*named)) {
            return failf(ErrorKind::unsupported,
                         "partition {} belongs to a RAID, whose superblock may lie at its end", *number);
        }
        return named;
    }
    const Partition* const chosen = automatic_choice(table);
    if (chosen == nullptr) return fail(ErrorKind::not_found, "there is no partition that could grow");
    return chosen;
}

std::uint64_t grown_bytes(const PartitionTable& table, const Partition& partition) {
    const std::uint64_t most = table.room_end(partition) - partition.start;
    return most - partition.bytes < gain_bytes_min ? partition.bytes : most;
}

Result<void> grow_partition(Volume& disk, const PartitionTable& table, const Partition& partition) {
    const auto stop = std::ranges::find(table.notes, true, &TableNote::stops_growing);
    if (stop != table.notes.end()) return fail(ErrorKind::unsupported, stop->text);
    const std::uint64_t end = partition.start + grown_bytes(table, partition);
    if (table.kind == TableKind::gpt) return grow_in_gpt(disk, table, partition, end);
    if (end == partition.end()) return {};
    return grow_in_mbr(disk, table, partition, end);
}

}  // namespace qimg::guest
