// Whether the partition tables of a disk agree with each other and with the disk. Reads tables only; what lies in a
// partition is left to others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg::partition {

enum class TableRule {
    inside_disk,   // a partition ends with the disk at the latest
    no_overlap,    // no two partitions share a sector
    mbr_fits_gpt,  // there is a GPT if, and only if, the MBR says so, and it protects the whole disk
    gpt_whole,     // checksums and fields of the first copy are right
    gpt_backup,    // the second copy is where the first one says, and says the same
    disk_end,      // the second copy is in the last sector of the disk
};

struct TableFault {
    TableRule rule;
    std::string text;
};

// All that is wrong with the tables of `disk`; nothing for a disk without any. At most 2 MiB are read.
Result<std::vector<TableFault>> check_tables(const Storage& disk);

}  // namespace qimg::partition
