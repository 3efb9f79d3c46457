// The partitions of a disk as a table and as JSON.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qimg/operations/partitions.hpp"

namespace qimg::cli {

void print_partitions(const PartitionsReport& report);
void print_partitions_json(const PartitionsReport& report);

}  // namespace qimg::cli
