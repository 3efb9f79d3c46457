// Reads arbitrary bytes as a disk that a guest used: its partitions lie where they can, file systems tell what is
// safe to print, and a table that may grow is whole afterwards.
// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "base/text.hpp"
#include "guest/grow_partition.hpp"
#include "guest/probe.hpp"
#include "heap_limit.hpp"
#include "support/storage_volume.hpp"

using namespace qimg;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
    auto file = memory_storage();
    if (!file->write(HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
    test::StorageVolume disk(std::move(file));
    const guest::PartitionTable table = guest::read_partition_table(disk).value();
    for (const guest::Partition& one : table.partitions) {
        if (one.bytes == 0 || !fits_within(one.start, one.bytes, disk.size())) std::abort();
        if (printable(one.name) != one.name || table.room_end(one) < one.end()) std::abort();
        const auto found = guest::probe(disk, one.start, one.bytes).value();
        if (found && printable(found->label + found->uuid) != found->label + found->uuid) std::abort();
    }
    if (!guest::probe(disk, 0, disk.size())) std::abort();
    disk.grow_to(size + 4 * MiB);
    const guest::PartitionTable longer = guest::read_partition_table(disk).value();
    const auto chosen = guest::choose_partition(longer, std::nullopt);
    if (!chosen || !guest::grow_partition(disk, longer, **chosen)) return 0;
    const guest::PartitionTable grown = guest::read_partition_table(disk).value();
    const bool is_whole = grown.partitions.size() == longer.partitions.size() && grown.notes.empty();
    if (!is_whole || grown.find((*chosen)->number)->end() < (*chosen)->end()) std::abort();
    return 0;
}
