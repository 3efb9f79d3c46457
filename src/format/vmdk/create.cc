// Header, descriptor, and two copies of a directory with all its tables, which are empty.
// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/create.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/vmdk/descriptor.hpp"
#include "format/vmdk/header.hpp"

namespace qimg::vmdk {

namespace {

using namespace std::literals;

constexpr std::uint64_t grain_bytes = 64 * KiB;
constexpr std::uint64_t descriptor_bytes = 10 * KiB;
constexpr std::uint64_t table_bytes = disk::entries_per_table_max * sizeof(disk::Entry);
constexpr std::array adapters = {"ide"sv, "buslogic"sv, "lsilogic"sv, "legacyESX"sv};
constexpr std::array several_files = {"monolithicFlat"sv, "twoGbMaxExtentSparse"sv, "twoGbMaxExtentFlat"sv};

std::uint64_t tables_for(std::uint64_t size) {
    return divide_up(size, grain_bytes * disk::entries_per_table_max);
}

std::uint64_t directory_bytes(std::uint64_t size) {
    return round_up(tables_for(size) * sizeof(disk::Entry), sector_bytes);
}

// Where things are: one after the other, as QEMU has them.
struct Places {
    std::uint64_t descriptor = sizeof(disk::Header);
    std::uint64_t redundant_directory = descriptor + descriptor_bytes;
    std::uint64_t directory = 0;
    std::uint64_t overhead = 0;

    explicit Places(std::uint64_t size) {
        const std::uint64_t with_tables = directory_bytes(size) + tables_for(size) * table_bytes;
        directory = redundant_directory + with_tables;
        overhead = round_up(directory + with_tables, grain_bytes);
    }
};

disk::Header header_for(const VmdkLayout& layout, std::uint64_t size, const Places& places) {
    const bool compressed = layout.subformat == "streamOptimized";
    disk::Header header{};
    header.magic = disk::magic;
    header.version = compressed ? 3 : layout.zeroed_grains ? 2 : 1;
    header.flags = disk::flag_line_ends | disk::flag_redundant_tables |
                   (compressed ? disk::flag_compressed | disk::flag_markers : 0) |
                   (layout.zeroed_grains ? disk::flag_zeroed_grains : 0);
    header.capacity = size / sector_bytes;
    header.grain_size = grain_bytes / sector_bytes;
    header.descriptor_offset = places.descriptor / sector_bytes;
    header.descriptor_size = descriptor_bytes / sector_bytes;
    header.entries_per_table = disk::entries_per_table_max;
    header.redundant_directory = places.redundant_directory / sector_bytes;
    header.directory = places.directory / sector_bytes;
    header.overhead = places.overhead / sector_bytes;
    header.line_ends = disk::line_ends;
    header.compression = compressed ? disk::compression_deflate : disk::compression_none;
    return header;
}

// The tables follow their directory.
Result<void> write_directory(Storage& storage, std::uint64_t at, std::uint64_t size) {
    constexpr std::uint64_t entries_at_once = 64 * KiB;
    const std::uint64_t count = tables_for(size);
    const std::uint64_t tables = at + directory_bytes(size);
    for (std::uint64_t first = 0; first < count; first += entries_at_once) {
        Bytes bytes(std::min(entries_at_once, count - first) * sizeof(disk::Entry));
        for (std::uint64_t i = 0; i * sizeof(disk::Entry) < bytes.size(); ++i) {
            const std::uint64_t sector = (tables + (first + i) * table_bytes) / sector_bytes;
            store(std::span(bytes).subspan(i * sizeof(disk::Entry)),
                  disk::Entry(static_cast<std::uint32_t>(sector)));
        }
        TRY(storage.write(HostOffset(at + first * sizeof(disk::Entry)), bytes));
    }
    return {};
}

}  // namespace

Result<void> check_layout(const VmdkLayout& layout, std::uint64_t size) {
    const auto is_in = [](const auto& names, std::string_view name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (!is_in(adapters, layout.adapter_type)) {
        return failf(ErrorKind::invalid_argument, "invalid parameter value: {}",
                     printable(layout.adapter_type));
    }
    if (is_in(several_files, layout.subformat)) {
        return failf(
            ErrorKind::unsupported,
            "Disks of several files ({}) are not supported, only monolithicSparse and streamOptimized",
            layout.subformat);
    }
    if (layout.subformat != "monolithicSparse" && layout.subformat != "streamOptimized") {
        return failf(ErrorKind::invalid_argument, "invalid parameter value: {}", printable(layout.subformat));
    }
    if (tables_for(size) > tables_max) {
        return fail(ErrorKind::no_space, "The image size is too large for file format 'vmdk'", EFBIG);
    }
    return {};
}

Result<void> create_empty(Storage& storage, const VmdkLayout& layout, std::uint64_t size,
                          std::string_view name) {
    const Places places(size);
    const std::string text = TRY(write_descriptor(layout, size, name, new_cid()));
    const disk::Header header = header_for(layout, size, places);
    TRY(storage.resize(places.overhead));
    TRY(storage.write(HostOffset(0), std::as_bytes(std::span(&header, 1))));
    TRY(storage.write(HostOffset(places.descriptor), bytes_of(text)));
    TRY(write_directory(storage, places.redundant_directory, size));
    return write_directory(storage, places.directory, size);
}

}  // namespace qimg::vmdk
