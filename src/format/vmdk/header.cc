// Each number of the header is checked here once: the rest of the folder relies on it.
// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/header.hpp"

#include <bit>

#include "base/bytes.hpp"
#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vmdk {

namespace {

constexpr std::uint64_t disk_bytes_end = 1ull << 63;

template <class... Args>
std::unexpected<Error> broken(fmt::format_string<Args...> format, Args&&... args) {
    return fail(ErrorKind::corrupt, fmt::format(format, std::forward<Args>(args)...));
}

template <class T>
Result<T> read_struct(const Storage& storage, std::uint64_t at) {
    std::array<std::byte, sizeof(T)> bytes;
    TRY(storage.read(HostOffset(at), bytes));
    return load<T>(bytes);
}

// `sectors` as bytes, when so many `bytes` more lie inside the file.
Result<HostRange> range_in_file(std::string_view what, std::uint64_t sectors, std::uint64_t bytes,
                                std::uint64_t file_bytes) {
    const auto start = checked_multiply(sectors, sector_bytes);
    if (sectors != 0 && start && fits_within(*start, bytes, file_bytes))
        return HostRange(HostOffset(*start), bytes);
    return broken("{}, {} bytes at sector {}, is not inside the file of {} bytes", what, bytes, sectors,
                  file_bytes);
}

// vmdk "Stream-Optimized Compressed Sparse Extents": footer marker, footer, end-of-stream marker
Result<disk::Header> read_footer(const Storage& storage, std::uint64_t file_bytes) {
    constexpr std::uint64_t tail = sizeof(disk::Marker) + sizeof(disk::Header) + sizeof(disk::Marker);
    if (file_bytes < sizeof(disk::Header) + tail) return broken("Invalid footer");
    const auto marker = TRY(read_struct<disk::Marker>(storage, file_bytes - tail));
    const auto footer = TRY(read_struct<disk::Header>(storage, file_bytes - tail + sizeof(disk::Marker)));
    const auto end = TRY(read_struct<disk::Marker>(storage, file_bytes - sizeof(disk::Marker)));
    const bool is_footer = marker.sectors == 1 && marker.bytes == 0 && marker.type == disk::marker_footer;
    const bool is_end = end.sectors == 0 && end.bytes == 0 && end.type == disk::marker_end_of_stream;
    if (!is_footer || !is_end || footer.magic != disk::magic || footer.directory == disk::directory_at_end)
        return broken("Invalid footer");
    return footer;
}

Result<void> check_kind(const disk::Header& raw) {
    if (raw.version < 1 || raw.version > disk::version_max)
        return failf(ErrorKind::unsupported, "Unsupported VMDK version {}", +raw.version);
    if ((raw.flags & disk::flag_line_ends) != 0 && raw.line_ends != disk::line_ends)
        return broken("Line ends in the header were changed: the file was transferred as text");
    if (raw.compression > disk::compression_deflate)
        return failf(ErrorKind::unsupported, "Unsupported compression algorithm {}", +raw.compression);
    const bool compressed = raw.compression == disk::compression_deflate;
    if (compressed != ((raw.flags & disk::flag_compressed) != 0))
        return broken("Flags and compression algorithm contradict each other");
    if (compressed && (raw.flags & disk::flag_markers) == 0)
        return fail(ErrorKind::unsupported, "Compressed grains without markers are not supported");
    return {};
}

// The geometry: how many tables there are, and what each of them reaches.
Result<void> take_sizes(const disk::Header& raw, Header& header) {
    if (raw.entries_per_table > disk::entries_per_table_max) return broken("L2 table size too big");
    if (raw.entries_per_table == 0) return broken("L1 entry size is invalid");
    const auto grain = checked_multiply(raw.grain_size, sector_bytes);
    if (!grain || *grain > grain_bytes_max || !std::has_single_bit(*grain))
        return broken("Invalid granularity, image may be corrupt (grains of {} sectors)", +raw.grain_size);
    const auto size = checked_multiply(raw.capacity, sector_bytes);
    if (!size || *size >= disk_bytes_end) return broken("The disk is too large: {} sectors", +raw.capacity);
    header.entries_per_table = raw.entries_per_table;
    header.grain_bytes = *grain;
    header.size = *size;
    if (header.tables() > tables_max) return broken("L1 size too big");
    return {};
}

Result<void> take_places(const disk::Header& raw, std::uint64_t file_bytes, Header& header) {
    const auto overhead = checked_multiply(raw.overhead, sector_bytes);
    if (!overhead || *overhead > file_bytes) {
        return broken("File truncated, expecting at least {} bytes", overhead.value_or(disk_bytes_end));
    }
    header.overhead = HostOffset(*overhead);
    if (raw.descriptor_offset == 0) {
        return fail(ErrorKind::unsupported,
                    "The file has no descriptor: it is a part of a disk of several files, which are not "
                    "supported");
    }
    const auto length = checked_multiply(raw.descriptor_size, sector_bytes);
    if (!length || *length == 0 || *length > descriptor_bytes_max)
        return broken("The descriptor has {} sectors", +raw.descriptor_size);
    header.descriptor = TRY(range_in_file("The descriptor", raw.descriptor_offset, *length, file_bytes));
    const std::uint64_t bytes = header.tables() * sizeof(disk::Entry);
    const HostRange directory = TRY(range_in_file("The grain directory", raw.directory, bytes, file_bytes));
    header.directory = directory.start;
    if ((raw.flags & disk::flag_redundant_tables) != 0) {
        const HostRange copy =
            TRY(range_in_file("The redundant grain directory", raw.redundant_directory, bytes, file_bytes));
        header.redundant_directory = copy.start;
    }
    return {};
}

}  // namespace

Result<Header> read_header(const Storage& storage) {
    const std::uint64_t file_bytes = TRY(storage.size());
    disk::Header raw = TRY(read_struct<disk::Header>(storage, 0));
    if (raw.magic != disk::magic) return fail(ErrorKind::invalid_argument, "Image not in VMDK format");
    TRY(check_kind(raw));
    Header header;
    header.has_footer = raw.directory == disk::directory_at_end;
    if (header.has_footer) {
        const disk::Header footer = TRY(read_footer(storage, file_bytes));
        TRY(check_kind(footer));
        const bool agree = footer.capacity == raw.capacity && footer.grain_size == raw.grain_size &&
                           footer.compression == raw.compression && footer.version == raw.version;
        if (!agree) return broken("Header and footer contradict each other");
        // the descriptor is what the header says, the tables are where the footer says
        raw.entries_per_table = footer.entries_per_table;
        raw.directory = footer.directory;
        raw.flags = raw.flags & ~disk::flag_redundant_tables;  // never looked at where nothing is written
    }
    header.version = raw.version;
    header.zeroed_grains = (raw.flags & disk::flag_zeroed_grains) != 0;
    header.compressed = raw.compression == disk::compression_deflate;
    TRY(take_sizes(raw, header));
    TRY(take_places(raw, file_bytes, header));
    return header;
}

}  // namespace qimg::vmdk
