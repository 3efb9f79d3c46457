// Reading a superblock: nothing in it is believed.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <bit>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/xfs/geometry.hpp"
#include "qimg/units.hpp"

namespace qimg::guest::xfs {

namespace {

constexpr std::uint32_t sector_bytes_max = 32 * KiB;
constexpr std::uint32_t block_bytes_max = 64 * KiB;
constexpr std::uint32_t group_blocks_min = 64;
constexpr std::uint64_t group_bytes_max = TiB;
constexpr std::uint64_t log_bytes_max = 2 * GiB;

std::unexpected<Error> unknown(std::string_view what) {
    return fail(ErrorKind::unsupported, fmt::format("the file system {}", what));
}

// Before anything else, as another version need not have the other fields.
Result<void> check_version(const disk::Superblock& raw) {
    if (raw.magic != disk::superblock_magic) return fail(ErrorKind::corrupt, "there is no XFS file system");
    const unsigned version = raw.version & disk::version_mask;
    if (version != 5) return unknown(fmt::format("is of version {}, without checksums", version));
    const std::uint32_t needed = disk::features2_checksums | disk::features2_lazy_counts;
    if ((raw.version & disk::version_more) == 0 || (raw.version & disk::version_log2) == 0 ||
        (raw.features2 & needed) != needed)
        return broken("the features of its superblock");
    return {};
}

Result<void> check_features(const disk::Superblock& raw) {
    const std::uint32_t incompat = raw.incompat & ~std::uint32_t{disk::incompat_known};
    const std::uint32_t ro_compat = raw.ro_compat & ~std::uint32_t{disk::ro_compat_known};
    const std::uint32_t features2 = raw.features2 & ~disk::features2_known;
    if (incompat != 0 || ro_compat != 0 || raw.compat != 0 || raw.log_incompat != 0 || features2 != 0)
        return unknown(fmt::format(
            "has features without a name here (compat {:#x}, ro_compat {:#x}, incompat {:#x}, log {:#x})",
            std::uint32_t{raw.compat}, ro_compat, incompat, std::uint32_t{raw.log_incompat}));
    if ((raw.version & (disk::version_shared | disk::version_borg)) != 0)
        return unknown("is of a kind that is not known here");
    if (raw.realtime_blocks != 0 || raw.realtime_extents != 0) return unknown("has a realtime device");
    if (raw.log_start == 0) return unknown("has its log on another device");
    if ((raw.flags & disk::flag_read_only) != 0) return unknown("may not be written to");
    if (raw.in_progress != 0) return broken("its making did not end");
    if ((raw.incompat & disk::needs_repair) != 0) return broken("it is marked as in need of repair");
    return {};
}

bool is_power(std::uint32_t value, std::uint8_t log, std::uint32_t least, std::uint32_t most) {
    return std::has_single_bit(value) && value >= least && value <= most && std::countr_zero(value) == log;
}

Result<void> check_units(const disk::Superblock& raw) {
    if (!is_power(raw.block_bytes, raw.block_log, 1024, block_bytes_max)) return broken("its block size");
    if (!is_power(raw.sector_bytes, raw.sector_log, 512,
                  std::min(sector_bytes_max, std::uint32_t{raw.block_bytes})))
        return broken("its sector size");
    return {};
}

Result<void> read_groups(const disk::Superblock& raw, std::uint64_t volume_bytes, Geometry& g) {
    g.block_bytes = raw.block_bytes;
    g.sector_bytes = raw.sector_bytes;
    g.blocks = raw.blocks;
    g.group_blocks = raw.group_blocks;
    g.groups = raw.groups;
    if (g.blocks > volume_bytes / g.block_bytes)
        return fail(ErrorKind::corrupt,
                    fmt::format("the file system has {} blocks of {} bytes, more than there is room for",
                                g.blocks, g.block_bytes));
    if (g.group_blocks < group_blocks_min || g.group_blocks > group_bytes_max / g.block_bytes)
        return broken("its blocks per group");
    if (static_cast<unsigned>(std::bit_width(g.group_blocks - 1)) != raw.group_blocks_log)
        return broken("its blocks per group as a power of two");
    if (g.groups == 0) return broken("it has no groups");
    const std::uint64_t before = std::uint64_t{g.groups - 1} * g.group_blocks;
    if (g.blocks < before + group_blocks_min || g.blocks > before + g.group_blocks)
        return broken("its number of groups");
    if (g.groups > groups_max) return unknown(fmt::format("has {} allocation groups", g.groups));
    if (g.blocks - before <= empty_group(g).first_free) return broken("its last group is too small");
    return {};
}

Result<void> read_log(const disk::Superblock& raw, Geometry& g) {
    const std::uint64_t group = raw.log_start >> raw.group_blocks_log;
    const std::uint64_t start = raw.log_start & ((1ull << raw.group_blocks_log) - 1);
    g.log_blocks = raw.log_blocks;
    if (group >= g.groups || g.log_blocks == 0 || g.log_blocks > log_bytes_max / g.block_bytes)
        return broken("its log");
    g.log_group = static_cast<std::uint32_t>(group);
    g.log_start = static_cast<std::uint32_t>(start);
    if (start < g.header_blocks() || start + g.log_blocks > g.blocks_in(g.log_group))
        return broken("its log");
    return {};
}

}  // namespace

Result<Superblock> read_superblock(const Volume& volume) {
    Bytes sector(sizeof(disk::Superblock));
    if (volume.size() < block_bytes_max) return fail(ErrorKind::corrupt, "there is no XFS file system");
    TRY(volume.read(0, sector));
    Superblock found{load<disk::Superblock>(sector), {}};
    const disk::Superblock& raw = found.raw;
    TRY(check_version(raw));
    TRY(check_units(raw));
    sector.resize(raw.sector_bytes);
    TRY(volume.read(0, sector));
    if (!has_checksum(sector, offsetof(disk::Superblock, checksum)))
        return broken("the checksum of its superblock");
    TRY(check_features(raw));
    found.geometry.ro_compat = raw.ro_compat;
    found.geometry.uuid = (raw.incompat & disk::has_metadata_uuid) != 0 ? raw.metadata_uuid : raw.uuid;
    TRY(read_groups(raw, volume.size(), found.geometry));
    TRY(read_log(raw, found.geometry));
    if (raw.free_blocks > raw.blocks) return broken("its number of free blocks");
    return found;
}

Result<Superblock> open(const Volume& volume) {
    Superblock found = TRY(read_superblock(volume));
    found.geometry.head_lsn = TRY(check_log(volume, found));
    if (!found.geometry.is_known_lsn(found.raw.lsn)) return broken("its superblock is newer than its log");
    return found;
}

}  // namespace qimg::guest::xfs
