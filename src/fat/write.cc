// Writes a FAT volume: boot sector, two tables, root folder, files one after another.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <ctime>
#include <limits>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "fat/disk_layout.hpp"
#include "fat/geometry.hpp"
#include "fat/names.hpp"
#include "qimg/fat.hpp"

namespace qimg {

namespace {

using namespace fat;

constexpr std::size_t files_max = 128;
constexpr std::uint8_t fixed_disk = 0xf8;
constexpr std::int64_t dos_epoch = 315'532'800;  // 1980-01-01
constexpr std::int64_t dos_end = 4'354'819'199;  // 2107-12-31 23:59:59

struct DosTime {
    std::uint16_t date = 0;
    std::uint16_t time = 0;
};

DosTime dos_time(std::int64_t seconds) {
    const std::time_t clamped = std::clamp(seconds, dos_epoch, dos_end);
    std::tm utc;
    ::gmtime_r(&clamped, &utc);
    DosTime stamp;
    stamp.date = static_cast<std::uint16_t>((utc.tm_year - 80) << 9 | (utc.tm_mon + 1) << 5 | utc.tm_mday);
    stamp.time = static_cast<std::uint16_t>(utc.tm_hour << 11 | utc.tm_min << 5 | utc.tm_sec / 2);
    return stamp;
}

BootSector boot_sector(const Geometry& geometry, const ShortName& label, std::uint32_t serial) {
    BootSector boot;
    boot.bytes_per_sector = static_cast<std::uint16_t>(logical_sector_bytes);
    boot.sectors_per_cluster = static_cast<std::uint8_t>(geometry.sectors_per_cluster);
    boot.reserved_sectors = static_cast<std::uint16_t>(reserved_sectors);
    boot.fat_count = fat_count;
    boot.root_entries = static_cast<std::uint16_t>(root_entries);
    const bool fits_16 = geometry.total_sectors <= std::numeric_limits<std::uint16_t>::max();
    if (fits_16) boot.total_sectors_16 = static_cast<std::uint16_t>(geometry.total_sectors);
    if (!fits_16) boot.total_sectors_32 = geometry.total_sectors;
    boot.media = fixed_disk;
    boot.sectors_per_fat = static_cast<std::uint16_t>(geometry.sectors_per_fat);
    boot.sectors_per_track = std::uint16_t{32};
    boot.heads = std::uint16_t{64};
    boot.drive_number = 0x80;
    boot.serial = serial;
    std::ranges::copy(label, boot.label);
    std::memcpy(boot.type, geometry.is_fat12() ? "FAT12   " : "FAT16   ", sizeof boot.type);
    return boot;
}

// The file allocation table, filled from the front.
class Table {
  public:
    explicit Table(const Geometry& geometry)
        : fat12_(geometry.is_fat12()), bytes_(std::size_t{geometry.sectors_per_fat} * logical_sector_bytes) {
        set(0, 0xff00 | fixed_disk);
        set(1, end_of_chain);
    }

    // A chain of neighbouring clusters; its first one, or 0 when there is none.
    std::uint32_t append_chain(std::uint64_t clusters) {
        const std::uint32_t first = clusters == 0 ? 0 : next_;
        for (; clusters > 0; --clusters, ++next_)
            set(next_, clusters == 1 ? end_of_chain : next_ + 1);
        return first;
    }

    std::span<const std::byte> bytes() const { return bytes_; }

  private:
    static constexpr std::uint32_t end_of_chain = 0xffff;

    void set(std::uint32_t entry, std::uint32_t value) {
        if (!fat12_)
            return store(std::span(bytes_).subspan(entry * 2), le16(static_cast<std::uint16_t>(value)));
        // two 12-bit entries share three bytes (FAT specification, section 4.1)
        const auto place = std::span(bytes_).subspan(entry + entry / 2);
        const std::uint32_t old = load<le16>(place);
        const std::uint32_t both =
            entry % 2 == 0 ? (old & 0xf000) | (value & 0x0fff) : (old & 0x000f) | (value & 0x0fff) << 4;
        store(place, le16(static_cast<std::uint16_t>(both)));
    }

    bool fat12_;
    Bytes bytes_;
    std::uint32_t next_ = first_data_cluster;
};

// The root folder, filled from the front.
class Root {
  public:
    template <class Entry>
    void append(const Entry& entry) {
        const auto view = std::as_bytes(std::span(&entry, 1));
        bytes_.insert(bytes_.end(), view.begin(), view.end());
    }
    std::span<const std::byte> bytes() const { return bytes_; }

  private:
    Bytes bytes_;
};

ShortEntry short_entry(const ShortName& name, std::uint8_t attributes, DosTime time) {
    ShortEntry entry;
    std::ranges::copy(name, entry.name);
    entry.attributes = attributes;
    entry.write_date = time.date;
    entry.write_time = time.time;
    return entry;
}

}  // namespace

Result<void> write_fat(std::span<const VolumeFile> files, const FatOptions& options, Storage& onto) {
    TRY(check_names(files));
    if (files.size() > files_max) {
        return failf(ErrorKind::invalid_argument, "{} files: at most {} fit into a volume made here",
                     files.size(), files_max);
    }
    const ShortName label = TRY(label_name(options.label));
    const Geometry geometry = TRY(geometry_for(files));
    const std::vector<ShortName> names = short_names(files);
    const DosTime time = dos_time(options.time);

    Table table(geometry);
    Root root;
    root.append(short_entry(label, attribute_volume_label, time));
    for (std::size_t i = 0; i < files.size(); ++i) {
        const std::string& contents = files[i].contents;
        const std::uint32_t first = table.append_chain(geometry.clusters_of(contents.size()));
        for (const LongEntry& entry : long_entries(files[i].name, names[i]))
            root.append(entry);
        ShortEntry entry = short_entry(names[i], attribute_read_only | attribute_archive, time);
        entry.creation_date = entry.access_date = time.date;
        entry.creation_time = time.time;
        entry.first_cluster = static_cast<std::uint16_t>(first);
        entry.bytes = static_cast<std::uint32_t>(contents.size());
        root.append(entry);
        if (first != 0) TRY(onto.write(geometry.cluster(first), bytes_of(contents)));
    }
    if (root.bytes().size() > root_bytes) {
        return fail(ErrorKind::invalid_argument,
                    "the names do not fit into a FAT root folder of 512 entries");
    }
    const BootSector boot = boot_sector(geometry, label, options.serial);
    TRY(onto.write(HostOffset(0), std::as_bytes(std::span(&boot, 1))));
    for (std::uint32_t i = 0; i < fat_count; ++i)
        TRY(onto.write(geometry.fat(i), table.bytes()));
    TRY(onto.write(geometry.root(), root.bytes()));
    return onto.resize(geometry.total_bytes());
}

}  // namespace qimg
