// One function per file system: looks for its magic number, and takes what the superblock tells.
// SPDX-License-Identifier: Apache-2.0
#include "guest/probe.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/bytes.hpp"
#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "guest/superblocks.hpp"
#include "guest/utf16.hpp"

namespace qimg::guest {

namespace {

template <std::size_t Length>
std::string_view view(const std::array<char, Length>& text) {
    return {text.data(), text.size()};
}

// Up to the first zero, without spaces behind it.
std::string label_text(std::string_view raw) {
    raw = raw.substr(0, raw.find('\0'));
    raw = raw.substr(0, raw.find_last_not_of(' ') + 1);
    return printable(raw);
}

std::string uuid_text(const disk::Uuid& uuid) {
    std::string text;
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += fmt::format("{:02x}", uuid[i]);
    }
    return text;
}

using Found = std::optional<FileSystem>;

// What begins at a place of a volume; behind its end everything is zero.
class Probe {
  public:
    Probe(const Volume& volume, std::uint64_t start, std::uint64_t bytes)
        : volume_(volume), start_(start), bytes_(bytes) {}

    Result<Found> any() const;

  private:
    template <class T>
    Result<T> read(std::uint64_t at) const {
        std::array<std::byte, sizeof(T)> raw{};
        const std::uint64_t inside = at < bytes_ ? std::min<std::uint64_t>(bytes_ - at, raw.size()) : 0;
        if (inside != 0) TRY(volume_.read(start_ + at, std::span(raw).first(inside)));
        return load<T>(raw);
    }

    Result<Found> luks() const;
    Result<Found> lvm() const;
    Result<Found> xfs() const;
    Result<Found> squashfs() const;
    Result<Found> ext() const;
    Result<Found> f2fs() const;
    Result<Found> swap() const;
    Result<Found> btrfs() const;
    Result<Found> iso() const;
    Result<Found> boot_sector() const;
    Result<Found> fat(const disk::BootSector& sector) const;

    const Volume& volume_;
    std::uint64_t start_;
    std::uint64_t bytes_;
};

Result<Found> Probe::luks() const {
    const auto header = TRY(read<disk::LuksHeader>(0));
    if (view(header.magic) != std::string_view("LUKS\xba\xbe", 6)) return Found();
    const std::string label = header.version >= 2 ? label_text(view(header.label)) : std::string();
    return FileSystem{Content::luks, label, label_text(view(header.uuid)), std::nullopt};
}

Result<Found> Probe::lvm() const {
    for (std::uint64_t sector = 0; sector < 4; ++sector) {
        const auto label = TRY(read<disk::LvmLabel>(sector * sector_bytes));
        if (view(label.id) != "LABELONE" || view(label.type) != "LVM2 001") continue;
        if (label.header_at > sector_bytes - sizeof(disk::LvmHeader)) continue;
        const auto header = TRY(read<disk::LvmHeader>(sector * sector_bytes + label.header_at));
        std::string uuid;
        for (std::size_t i = 0; i < header.uuid.size(); ++i) {
            if (i >= 6 && i <= 26 && (i - 6) % 4 == 0) uuid += '-';
            uuid += header.uuid[i];
        }
        return FileSystem{Content::lvm2, "", printable(uuid), header.bytes};
    }
    return Found();
}

Result<Found> Probe::xfs() const {
    const auto block = TRY(read<disk::XfsSuperblock>(0));
    if (view(block.magic) != "XFSB") return Found();
    return FileSystem{Content::xfs, label_text(view(block.label)), uuid_text(block.uuid),
                      checked_multiply(block.blocks, block.block_bytes)};
}

Result<Found> Probe::squashfs() const {
    const auto block = TRY(read<disk::SquashfsSuperblock>(0));
    if (view(block.magic) != "hsqs") return Found();
    return FileSystem{Content::squashfs, "", "", block.bytes};
}

Result<Found> Probe::ext() const {
    const auto block = TRY(read<disk::ExtSuperblock>(disk::ext_superblock_at));
    if (block.magic != disk::ext_magic || block.log_block_kib > 6) return Found();
    if ((block.incompatible & disk::ext_journal_device) != 0) return Found();
    const bool is_ext4 = (block.incompatible & ~disk::ext3_incompatible) != 0 ||
                         (block.read_only_compatible & ~disk::ext3_read_only_compatible) != 0;
    const bool has_journal = (block.compatible & disk::ext_has_journal) != 0;
    const Content content = is_ext4 ? Content::ext4 : has_journal ? Content::ext3 : Content::ext2;
    const std::uint64_t high = (block.incompatible & disk::ext_64bit) != 0 ? +block.blocks_high : 0;
    return FileSystem{content, label_text(view(block.label)), uuid_text(block.uuid),
                      checked_multiply(high << 32 | block.blocks_low, KiB << block.log_block_kib)};
}

Result<Found> Probe::f2fs() const {
    const auto block = TRY(read<disk::F2fsSuperblock>(disk::f2fs_superblock_at));
    if (block.magic != disk::f2fs_magic || block.log_block_bytes > 16) return Found();
    return FileSystem{Content::f2fs, printable(utf8_of(block.label)), uuid_text(block.uuid),
                      checked_multiply(block.blocks, 1ull << block.log_block_bytes)};
}

Result<Found> Probe::swap() const {
    const auto signature =
        TRY(read<disk::SwapSignature>(disk::swap_page_bytes - sizeof(disk::SwapSignature)));
    if (view(signature) != "SWAPSPACE2") return Found();
    const auto header = TRY(read<disk::SwapHeader>(disk::swap_header_at));
    return FileSystem{Content::swap, label_text(view(header.label)), uuid_text(header.uuid),
                      (std::uint64_t{header.last_page} + 1) * disk::swap_page_bytes};
}

Result<Found> Probe::btrfs() const {
    const auto block = TRY(read<disk::BtrfsSuperblock>(disk::btrfs_superblock_at));
    if (view(block.magic) != "_BHRfS_M") return Found();
    return FileSystem{Content::btrfs, label_text(view(block.label)), uuid_text(block.uuid), block.bytes};
}

Result<Found> Probe::iso() const {
    const auto volume = TRY(read<disk::IsoVolume>(disk::iso_volume_at));
    if (volume.type != 1 || view(volume.id) != "CD001") return Found();
    return FileSystem{Content::iso9660, label_text(view(volume.label)), "",
                      std::uint64_t{volume.blocks} * volume.block_bytes};
}

Result<Found> Probe::boot_sector() const {
    const auto sector = TRY(read<disk::BootSector>(0));
    const std::uint64_t unit = sector.sector_bytes;
    const bool is_geometry = unit >= 512 && unit <= 4096 && (unit & (unit - 1)) == 0;
    if (!is_geometry || sector.signature != std::array<std::uint8_t, 2>{0x55, 0xaa}) return Found();
    if (view(sector.system) == "NTFS    ") {
        // the sector behind them is a copy of this one
        const auto bytes = checked_multiply(sector.ntfs_sectors, unit);
        return FileSystem{Content::ntfs, "", fmt::format("{:016X}", +sector.ntfs_serial), bytes};
    }
    return fat(sector);
}

// The number of clusters alone tells which of the three it is.
Result<Found> Probe::fat(const disk::BootSector& sector) const {
    const std::uint64_t unit = sector.sector_bytes;
    const unsigned per_cluster = sector.cluster_sectors;
    const bool is_fat = per_cluster != 0 && (per_cluster & (per_cluster - 1)) == 0 &&
                        sector.reserved_sectors != 0 && (sector.fats == 1 || sector.fats == 2) &&
                        (sector.media == 0xf0 || sector.media >= 0xf8);
    if (!is_fat) return Found();
    const std::uint64_t sectors = sector.sectors_16 != 0 ? +sector.sectors_16 : +sector.sectors_32;
    const std::uint64_t fat_sectors =
        sector.fat_sectors_16 != 0 ? +sector.fat_sectors_16 : +sector.fat_sectors_32;
    const std::uint64_t before = sector.reserved_sectors + sector.fats * fat_sectors +
                                 divide_up(std::uint64_t{sector.root_entries} * 32, unit);
    if (fat_sectors == 0 || before >= sectors) return Found();
    const std::uint64_t clusters = (sectors - before) / per_cluster;
    const bool is_fat32 = sector.fat_sectors_16 == 0;
    const auto names = TRY(read<disk::FatNames>(is_fat32 ? 64 : 36));
    std::string label = label_text(view(names.label));
    if (label == "NO NAME") label.clear();
    const Content content = is_fat32 ? Content::fat32 : clusters < 4085 ? Content::fat12 : Content::fat16;
    return FileSystem{content, std::move(label),
                      fmt::format("{:04X}-{:04X}", names.serial >> 16, names.serial & 0xffff),
                      sectors * unit};
}

// Those that encrypt or hold others come first: what lies in them may look like a file system of its own.
Result<Found> Probe::any() const {
    constexpr Result<Found> (Probe::*all[])() const = {
        &Probe::luks, &Probe::lvm,  &Probe::xfs,      &Probe::btrfs,       &Probe::f2fs,
        &Probe::ext,  &Probe::swap, &Probe::squashfs, &Probe::boot_sector, &Probe::iso,
    };
    for (const auto one : all) {
        Found found = TRY((this->*one)());
        if (found) return found;
    }
    return Found();
}

constexpr std::pair<Content, std::string_view> names[] = {
    {Content::ext2, "ext2"},   {Content::ext3, "ext3"},       {Content::ext4, "ext4"},
    {Content::xfs, "XFS"},     {Content::btrfs, "btrfs"},     {Content::f2fs, "F2FS"},
    {Content::fat12, "FAT12"}, {Content::fat16, "FAT16"},     {Content::fat32, "FAT32"},
    {Content::ntfs, "NTFS"},   {Content::swap, "swap"},       {Content::lvm2, "LVM2"},
    {Content::luks, "LUKS"},   {Content::iso9660, "ISO9660"}, {Content::squashfs, "squashfs"},
};

}  // namespace

Result<std::optional<FileSystem>> probe(const Volume& volume, std::uint64_t start, std::uint64_t bytes) {
    return Probe(volume, start, bytes).any();
}

std::string_view name_of(Content content) {
    const auto* const found = std::ranges::find(names, content, &std::pair<Content, std::string_view>::first);
    return found->second;
}

bool is_ext(Content content) {
    return content == Content::ext2 || content == Content::ext3 || content == Content::ext4;
}

}  // namespace qimg::guest
