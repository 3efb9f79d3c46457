// partitions: which partitions a disk has, and which file systems are in them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/image.hpp"

namespace qimg {

struct PartitionsOptions {
    std::string path;
    OpenOptions open;
};

// All text is safe to print; what is not known is empty.
struct FileSystemInfo {
    std::string type;  // "ext4", "FAT32", "LVM2", …
    std::string label;
    std::string uuid;
    std::optional<std::uint64_t> bytes;  // its own length, as its superblock says it
};

// Offsets and lengths in bytes.
struct PartitionInfo {
    unsigned number = 0;  // as Linux counts
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
    std::string type;       // GPT: a GUID; MBR: "0x83"
    std::string type_name;  // "Linux file system"
    std::string name;       // GPT
    std::string guid;       // GPT
    bool bootable = false;  // MBR: the boot flag; GPT: the legacy one among the attributes
    std::optional<FileSystemInfo> file_system;
};

struct FreeSpace {
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
};

struct PartitionsReport {
    std::uint64_t disk_bytes = 0;
    std::string table;  // "gpt", "mbr"; empty: there is none
    std::string id;     // of the disk, as the table has it
    std::uint64_t sector_bytes = 512;
    std::vector<PartitionInfo> partitions;      // by number
    std::vector<FreeSpace> free_space;          // at least 1 MiB each
    std::optional<FileSystemInfo> file_system;  // of the whole disk, where there is no table
    std::vector<std::string> notes;             // what is wrong with the table
};

// Reads only. Errors: of Image::open and of reading.
Result<PartitionsReport> partitions(const PartitionsOptions& options, Opener& opener = file_opener());

}  // namespace qimg
