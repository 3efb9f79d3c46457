// A table made to fit a disk that became longer, and one of its partitions made as long as it can be. Knows nothing
// of what is in the partition.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "guest/partition_table.hpp"
#include "guest/volume.hpp"
#include "qimg/error.hpp"

namespace qimg::guest {

// The partition that is to grow: the one with that number, or else the root partition by its type, or else the last
// one on the disk, if it can grow or fills the disk; or else the largest that can grow. Never one of RAID, whose own
// superblock may lie at its end, nor an extended one by itself, nor (unless it is asked for) boot partitions and swap
// space. Errors: not_found; unsupported, with the reason.
Result<const Partition*> choose_partition(const PartitionTable& table, std::optional<unsigned> number);

// What the partition can become; what it is already when that is less than 1 MiB more. Bytes.
std::uint64_t grown_bytes(const PartitionTable& table, const Partition& partition);

// The second copy of a GPT moves to the end of the disk, the MBR in front of it follows; then the partition grows, and
// with a logical one the extended partition around it. `table` is that of `disk`. Only what is wrong with the table
// already is written when the partition cannot grow. Errors: unsupported for a table that a note stops growing of.
Result<void> grow_partition(Volume& disk, const PartitionTable& table, const Partition& partition);

}  // namespace qimg::guest
