// Parsing and checking of the bitmap directory.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/bitmaps.hpp"

#include "base/checked.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

constexpr std::uint64_t name_bytes_max = 1023;
constexpr unsigned granularity_bits_min = 9;
constexpr unsigned granularity_bits_max = 31;
constexpr std::uint64_t directory_bytes_max = bitmaps_max * (sizeof(disk::BitmapEntry) + name_bytes_max + 1);

std::unexpected<Error> invalid(std::string detail) {
    return fail_detailed(ErrorKind::corrupt, "Invalid bitmap directory", std::move(detail));
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
    if (raw.nb_bitmaps == 0)
        return fail(ErrorKind::corrupt, "bitmaps_ext: found bitmaps extension with zero bitmaps");
    if (!geometry.is_cluster_aligned(raw.directory_offset)) {
        return fail(ErrorKind::corrupt, "bitmaps_ext: invalid bitmap directory offset");
    }
    if (raw.directory_size > directory_bytes_max) {
        return failf(ErrorKind::corrupt,
                     "bitmaps_ext: bitmap directory size ({}) exceeds the maximum supported size ({})",
                     +raw.directory_size, directory_bytes_max);
    }
    if (!fits_within(raw.directory_offset, raw.directory_size,
                     round_up(file_bytes, geometry.cluster_bytes()))) {
        return fail(ErrorKind::corrupt, "bitmaps_ext: bitmap directory is past the end of the file");
    }
    return raw;
}

}  // namespace

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
        if (rest.size() < sizeof(disk::BitmapEntry)) return invalid("an entry is cut short");
        const auto entry = load<disk::BitmapEntry>(rest);
        const std::uint64_t name_at = sizeof(disk::BitmapEntry) + std::uint64_t{entry.extra_data_size};
        const std::uint64_t entry_bytes = round_up(name_at + entry.name_size, 8);
        if (entry_bytes > rest.size()) return invalid("an entry is cut short");
        if (entry.name_size == 0 || entry.name_size > name_bytes_max ||
            entry.granularity_bits < granularity_bits_min || entry.granularity_bits > granularity_bits_max) {
            return invalid(fmt::format("entry at {:#x}", raw.directory_offset + at));
        }
        Bitmap bitmap;
        bitmap.directory_entry = directory.at + at;
        bitmap.flags = entry.flags;
        bitmap.table = HostOffset(entry.table_offset);
        bitmap.table_entries = entry.table_size;
        bitmap.info.name = std::string(text_of(rest.subspan(name_at, entry.name_size)));
        bitmap.info.granularity_bytes = 1ull << entry.granularity_bits;
        bitmap.info.in_use = (entry.flags & disk::bitmap_in_use) != 0;
        bitmap.info.automatic = (entry.flags & disk::bitmap_auto) != 0;
        directory.bitmaps.push_back(std::move(bitmap));
        at += entry_bytes;
    }
    if (directory.bitmaps.size() != raw.nb_bitmaps) {
        return invalid(
            fmt::format("{} entries, but the header says {}", directory.bitmaps.size(), +raw.nb_bitmaps));
    }
    return directory;
}

}  // namespace qimg::qcow2
