// The partitions of a disk, out of an MBR with its logical partitions or out of a GPT, as Linux sees them. Whatever
// is on the disk, work is bounded, and all text is safe to print. Knows no file systems.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "guest/volume.hpp"
#include "partition/gpt.hpp"
#include "qimg/error.hpp"

namespace qimg::guest {

enum class TableKind { none, mbr, gpt };

enum class PartitionRole {
    ordinary,
    extended,  // holds the logical partitions of an MBR, and nothing itself
    logical,
};

// Offsets and lengths in bytes.
struct Partition {
    unsigned number = 0;  // Linux's: 1 to 4 in the MBR, 5 and up for logical ones, the entry's for a GPT
    PartitionRole role = PartitionRole::ordinary;
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
    std::string type;              // GPT: a GUID; MBR: "0x83"
    std::string type_name;         // empty when it is not known
    std::string name;              // GPT
    std::string guid;              // GPT
    std::uint64_t attributes = 0;  // GPT; MBR: the boot flag, 0 or 0x80
    // Of the sector with its entry: the MBR's, the boot record's of a logical one; GPT: 0.
    std::uint64_t record = 0;

    std::uint64_t end() const { return start + bytes; }
};

struct Space {
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
};

struct TableNote {
    std::string text;           // one line
    bool stops_growing = true;  // false: the table is right all the same, or becomes so by growing
};

struct PartitionTable {
    TableKind kind = TableKind::none;
    std::uint64_t sector_bytes = 512;
    std::string id;  // of the disk: a GUID, or eight hexadecimal digits
    // By number. Those that do not lie inside the disk are left out, and noted.
    std::vector<Partition> partitions;
    // At least 1 MiB each, by offset. Space behind a GPT that ends before the disk does counts, too.
    std::vector<Space> free_space;
    std::vector<TableNote> notes;
    // Partitions may begin here at the earliest, and end here at the latest, once the table is as long as the disk.
    std::uint64_t usable_start = 0;
    std::uint64_t usable_end = 0;

    // Where the space ends that `partition` has behind it: with the next partition or its record, with the extended
    // partition around a logical one, or with the disk. At least partition.end().
    std::uint64_t room_end(const Partition& partition) const;
    const Partition* find(unsigned number) const;
    const Partition* extended() const;  // or null
};

// Kind `none` for a disk without a table, or with a file system's boot sector instead of one. Errors: of reading;
// what is wrong with a table is a note.
Result<PartitionTable> read_partition_table(const Volume& disk);

// The disk for the parts that `partition` knows.
partition::DiskReader disk_reader(const Volume& disk, std::uint64_t sector_bytes);

// GUIDs as they are written: "0fc63daf-8483-4772-8e79-3d69d8477de4".
std::string guid_text(const std::array<std::uint8_t, 16>& guid);

// What a partition is for; empty when it is not known.
std::string_view gpt_type_name(std::string_view guid);
std::string_view mbr_type_name(std::uint8_t type);
// True for types that Linux's Discoverable Partitions Specification has for "/".
bool is_root_type(std::string_view guid);
bool is_extended_type(std::uint8_t type);

}  // namespace qimg::guest
