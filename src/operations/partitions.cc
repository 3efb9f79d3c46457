// A disk's table, and what each of its partitions begins with.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/partitions.hpp"

#include "base/text.hpp"
#include "base/try.hpp"
#include "guest/draft.hpp"
#include "guest/partition_table.hpp"
#include "guest/probe.hpp"

namespace qimg {

namespace {

constexpr std::uint64_t gpt_legacy_bootable = 1 << 2;

Result<std::optional<FileSystemInfo>> file_system_at(const guest::Volume& disk, std::uint64_t start,
                                                     std::uint64_t bytes) {
    const auto found = TRY(guest::probe(disk, start, bytes));
    if (!found) return std::nullopt;
    return FileSystemInfo{std::string(guest::name_of(found->content)), found->label, found->uuid,
                          found->bytes};
}

std::string name_of(guest::TableKind kind) {
    switch (kind) {
        case guest::TableKind::gpt:
            return "gpt";
        case guest::TableKind::mbr:
            return "mbr";
        case guest::TableKind::none:
            break;
    }
    return "";
}

}  // namespace

Result<PartitionsReport> partitions(const PartitionsOptions& options, Opener& opener) {
    const auto image = TRY(Image::open(options.path, options.open, opener));
    const guest::Draft disk(*image, image->size(), {});
    const guest::PartitionTable table = TRY(guest::read_partition_table(disk));
    PartitionsReport report;
    report.disk_bytes = image->size();
    report.table = name_of(table.kind);
    report.id = table.id;
    report.sector_bytes = table.sector_bytes;
    const std::uint64_t bootable = table.kind == guest::TableKind::gpt ? gpt_legacy_bootable : 0x80;
    for (const guest::Partition& one : table.partitions) {
        PartitionInfo info{one.number,    one.start, one.bytes, one.type,
                           one.type_name, one.name,  one.guid,  (one.attributes & bootable) != 0,
                           std::nullopt};
        if (one.role != guest::PartitionRole::extended)
            info.file_system = TRY(file_system_at(disk, one.start, one.bytes));
        report.partitions.push_back(std::move(info));
    }
    for (const guest::Space& space : table.free_space)
        report.free_space.push_back({space.start, space.bytes});
    for (const guest::TableNote& note : table.notes)
        report.notes.push_back(note.text);
    if (table.kind == guest::TableKind::none) report.file_system = TRY(file_system_at(disk, 0, disk.size()));
    return report;
}

}  // namespace qimg
