// The header of a hosted sparse extent, parsed and checked in one place.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "format/vmdk/disk_layout.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"
#include "qimg/units.hpp"

namespace qimg::vmdk {

inline constexpr std::uint64_t grain_bytes_max = 2 * MiB;
inline constexpr std::uint64_t descriptor_bytes_max = 64 * KiB;  // usual are 10 KiB
inline constexpr std::uint64_t tables_max = 32 * MiB;            // as many as QEMU takes

// Everything in bytes, and inside the file as far as the file was asked.
struct Header {
    std::uint32_t version = 1;
    std::uint64_t size = 0;         // of the disk
    std::uint64_t grain_bytes = 0;  // a power of two, 512 to grain_bytes_max
    std::uint32_t entries_per_table = disk::entries_per_table_max;
    HostRange descriptor;
    HostOffset directory;
    std::optional<HostOffset> redundant_directory;
    HostOffset overhead;  // where grains may begin
    bool zeroed_grains = false;
    bool compressed = false;
    bool has_footer = false;  // tables stand behind the grains: nothing can be added

    std::uint64_t table_reach_bytes() const { return grain_bytes * entries_per_table; }
    std::uint64_t table_bytes() const { return std::uint64_t{entries_per_table} * sizeof(disk::Entry); }
    std::uint64_t tables() const { return divide_up(size, table_reach_bytes()); }
};

// Reads the header, and the footer where it refers to one. Errors: corrupt with the rule broken; unsupported for
// versions and compression that are not known, and for a part of a disk of several files.
Result<Header> read_header(const Storage& storage);

}  // namespace qimg::vmdk
