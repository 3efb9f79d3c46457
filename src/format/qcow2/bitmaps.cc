// Parsing, checking and building of the bitmap directory.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/bitmaps.hpp"

#include <algorithm>
#include <bit>

#include "base/checked.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

std::unexpected<Error> broken(std::string detail) {
    return fail_detailed(ErrorKind::corrupt, "Broken bitmap directory", std::move(detail));
}

Result<disk::BitmapsExtension> parse_extension(const Extension& extension, const Geometry& geometry,
                                               std::uint64_t file_bytes) {
    if (extension.data.size() != sizeof(disk::BitmapsExtension)) {
        return fail(ErrorKind::corrupt, "bitmaps_ext: Invalid extension length");
    }
    const auto raw = load<disk::BitmapsExtension>(extension.data);
    if (raw.reserved != 0) return fail(ErrorKind::corrupt, "bitmaps_ext: Reserved field is not zero");
    if (raw.nb_bitmaps > bitmaps_max) {
        return failf(ErrorKind::corrupt,
                     "bitmaps_ext: image has {} bitmaps, exceeding the supported maximum of {}",
                     +raw.nb_bitmaps, bitmaps_max);
    }
    if (raw.nb_bitmaps == 0) return fail(ErrorKind::corrupt, "found bitmaps extension with zero bitmaps");
    if (!geometry.is_cluster_aligned(raw.directory_offset)) {
        return fail(ErrorKind::corrupt, "bitmaps_ext: invalid bitmap directory offset");
    }
    if (raw.directory_size == 0) return fail(ErrorKind::corrupt, "Requested bitmap directory size is zero");
    if (raw.directory_size > bitmap_directory_bytes_max) {
        return failf(ErrorKind::corrupt,
                     "bitmaps_ext: bitmap directory size ({}) exceeds the maximum supported size ({})",
                     +raw.directory_size, bitmap_directory_bytes_max);
    }
    if (!fits_within(raw.directory_offset, raw.directory_size,
                     round_up(file_bytes, geometry.cluster_bytes()))) {
        return fail(ErrorKind::corrupt, "bitmaps_ext: bitmap directory is past the end of the file");
    }
    return raw;
}

// What QEMU asks of an entry before it opens the image.
Result<void> check_entry(const disk::BitmapEntry& entry, const std::string& name, const Header& header) {
    const Geometry& geometry = header.geometry;
    const bool in_use = (entry.flags & disk::bitmap_in_use) != 0;
    const bool known =
        entry.type == disk::bitmap_dirty_tracking && (entry.flags & ~disk::bitmap_known_flags) == 0 &&
        name.size() <= bitmap_name_bytes_max && entry.granularity_bits >= granularity_bits_min &&
        entry.granularity_bits <= granularity_bits_max;
    const bool has_table =
        entry.table_offset != 0 && geometry.is_cluster_aligned(entry.table_offset) && entry.table_size != 0;
    const std::uint64_t bytes = entry.table_size * geometry.cluster_bytes();
    // the size of the disk may have changed after a bitmap was left in use
    const std::uint64_t wanted = known ? bitmap_bytes(header.size, entry.granularity_bits) : 0;
    const bool fits = bytes <= bitmap_bytes_max && (in_use || wanted <= bytes);
    const auto refuse = [&](std::string text) {
        return fail_detailed(
            ErrorKind::corrupt, std::move(text),
            fmt::format("type {}, flags {:#x}, granularity 2^{}, {} table entries at {:#x}", entry.type,
                        +entry.flags, entry.granularity_bits, +entry.table_size, +entry.table_offset));
    };
    if (!known || !has_table || !fits)
        return refuse(fmt::format("Bitmap '{}' doesn't satisfy the constraints", printable(name)));
    if (!in_use && entry.table_size != geometry.clusters_for(wanted)) {
        return refuse(
            fmt::format("Could not read bitmap '{}' from image: Invalid argument", printable(name)));
    }
    return {};
}

}  // namespace

unsigned Bitmap::granularity_bits() const {
    return static_cast<unsigned>(std::countr_zero(info.granularity_bytes));
}

void Bitmap::set_flag(std::uint32_t flag, bool on) {
    flags = on ? flags | flag : flags & ~flag;
    info.in_use = (flags & disk::bitmap_in_use) != 0;
    info.automatic = (flags & disk::bitmap_auto) != 0;
}

Result<BitmapDirectory> read_bitmaps(const Storage& storage, const Header& header) {
    BitmapDirectory directory;
    if ((header.autoclear & disk::autoclear_bitmaps) == 0) return directory;
    const Extension* extension = header.find(disk::extension_bitmaps);
    if (extension == nullptr) {
        return fail(ErrorKind::corrupt,
                    "The bitmaps autoclear bit is set, but the bitmaps extension is absent");
    }
    const std::uint64_t file_bytes = TRY(storage.size());
    const auto raw = TRY(parse_extension(*extension, header.geometry, file_bytes));
    directory.at = HostOffset(raw.directory_offset);
    directory.bytes = raw.directory_size;
    Bytes bytes(directory.bytes);
    TRY(storage.read(directory.at, bytes));

    std::uint64_t at = 0;
    while (at < bytes.size()) {
        const auto rest = std::span(bytes).subspan(at);
        if (rest.size() < sizeof(disk::BitmapEntry)) return broken("an entry is cut short");
        const auto entry = load<disk::BitmapEntry>(rest);
        const std::uint64_t name_at = sizeof(disk::BitmapEntry) + std::uint64_t{entry.extra_data_size};
        const std::uint64_t entry_bytes = round_up(name_at + entry.name_size, 8);
        if (entry_bytes > rest.size()) return broken("an entry is cut short");
        if (directory.bitmaps.size() == raw.nb_bitmaps)
            return fail(ErrorKind::corrupt, "More bitmaps found than specified in header extension");
        if (entry.name_size == 0) return broken("an entry has no name");
        if (entry.extra_data_size != 0) return fail(ErrorKind::corrupt, "Bitmap extra data is not supported");
        Bitmap bitmap;
        bitmap.info.name = std::string(text_of(rest.subspan(name_at, entry.name_size)));
        TRY(check_entry(entry, bitmap.info.name, header));
        bitmap.info.granularity_bytes = 1ull << entry.granularity_bits;
        bitmap.directory_entry = directory.at + at;
        bitmap.table = HostOffset(entry.table_offset);
        bitmap.table_entries = entry.table_size;
        bitmap.set_flag(entry.flags, true);
        directory.bitmaps.push_back(std::move(bitmap));
        at += entry_bytes;
    }
    if (directory.bitmaps.size() != raw.nb_bitmaps)
        return fail(ErrorKind::corrupt, "Less bitmaps found than specified in header extension");
    return directory;
}

std::uint64_t directory_entry_bytes(std::uint64_t name_bytes) {
    return round_up(sizeof(disk::BitmapEntry) + name_bytes, 8);
}

Bytes serialize_bitmaps(const std::vector<Bitmap>& bitmaps) {
    Bytes out;
    for (const Bitmap& bitmap : bitmaps) {
        const auto name = bytes_of(bitmap.info.name);
        disk::BitmapEntry entry{};
        entry.table_offset = bitmap.table.bytes;
        entry.table_size = bitmap.table_entries;
        entry.flags = bitmap.flags;
        entry.type = disk::bitmap_dirty_tracking;
        entry.granularity_bits = static_cast<std::uint8_t>(bitmap.granularity_bits());
        entry.name_size = static_cast<std::uint16_t>(name.size());
        const std::size_t at = out.size();
        out.resize(at + directory_entry_bytes(name.size()));
        const auto place = std::span(out).subspan(at);
        store(place, entry);
        std::ranges::copy(name, place.subspan(sizeof(entry)).begin());
    }
    return out;
}

std::uint64_t bitmap_bytes(std::uint64_t disk_bytes, unsigned granularity_bits) {
    return divide_up(divide_up(disk_bytes, 1ull << granularity_bits), 8);
}

}  // namespace qimg::qcow2
