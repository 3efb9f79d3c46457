// Reading a superblock: nothing in it is believed.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/try.hpp"
#include "guest/ext4/checksum.hpp"
#include "guest/ext4/geometry.hpp"
#include "guest/ext4/journal.hpp"

namespace qimg::guest::ext4 {

namespace {

std::unexpected<Error> broken(std::string_view rule) {
    return fail(ErrorKind::corrupt,
                fmt::format("the file system's superblock is damaged: {}; run e2fsck on it", rule));
}

std::unexpected<Error> unknown(std::string_view what) {
    return fail(ErrorKind::unsupported, fmt::format("the file system {}, which is not supported", what));
}

Result<void> check_identity(const disk::Superblock& raw, std::span<const std::byte> bytes) {
    if (raw.magic != disk::superblock_magic)
        return fail(ErrorKind::corrupt, "there is no ext2, ext3 or ext4 file system");
    if (raw.rev_level != 1) return unknown(fmt::format("has revision {}", std::uint32_t{raw.rev_level}));
    if ((raw.feature_incompat & disk::journal_device) != 0)
        return fail(ErrorKind::unsupported, "this is the journal of another file system");
    const std::uint32_t incompat = raw.feature_incompat & ~std::uint32_t{disk::incompat_known};
    const std::uint32_t ro_compat = raw.feature_ro_compat & ~std::uint32_t{disk::ro_compat_known};
    const std::uint32_t compat = raw.feature_compat & ~std::uint32_t{disk::compat_known};
    if (incompat != 0 || ro_compat != 0 || compat != 0)
        return unknown(
            fmt::format("has features without a name here (compat {:#x}, incompat {:#x}, ro_compat {:#x})",
                        compat, incompat, ro_compat));
    if ((raw.feature_ro_compat & disk::bigalloc) != 0)
        return unknown("allocates clusters of blocks (bigalloc)");
    if ((raw.feature_ro_compat & disk::metadata_csum) == 0) return {};
    if (raw.checksum_type != 1) return unknown(fmt::format("has checksums of type {}", raw.checksum_type));
    if (crc32c(~0u, bytes.first(offsetof(disk::Superblock, checksum))) != raw.checksum)
        return broken("its checksum is wrong");
    return {};
}

Result<void> read_sizes(const disk::Superblock& raw, Geometry& g) {
    if (raw.log_block_size > 6) return broken("its block size");
    g.block_bytes = 1024u << raw.log_block_size;
    if (g.block_bytes > 4096) return unknown(fmt::format("has blocks of {} bytes", g.block_bytes));
    g.first_data_block = raw.first_data_block;
    if (g.first_data_block != (g.block_bytes == 1024 ? 1u : 0u)) return broken("its first data block");
    g.blocks_per_group = raw.blocks_per_group;
    if (raw.log_cluster_size != raw.log_block_size || raw.clusters_per_group != g.blocks_per_group)
        return broken("clusters that are not blocks");
    if (g.blocks_per_group < 256 || g.blocks_per_group > 8 * g.block_bytes || g.blocks_per_group % 8 != 0)
        return broken("its blocks per group");
    g.inode_bytes = raw.inode_size;
    if (!std::has_single_bit(g.inode_bytes) || g.inode_bytes < sizeof(disk::Inode) ||
        g.inode_bytes > g.block_bytes)
        return broken("its inode size");
    g.inodes_per_group = raw.inodes_per_group;
    if (g.inodes_per_group < 8 || g.inodes_per_group > 8 * g.block_bytes || g.inodes_per_group % 8 != 0)
        return broken("its inodes per group");
    g.descriptor_bytes = g.has(disk::wide) ? std::uint32_t{raw.desc_size} : disk::short_descriptor_bytes;
    if (g.has(disk::wide) && g.descriptor_bytes != sizeof(disk::GroupDescriptor))
        return unknown(fmt::format("has group descriptors of {} bytes", g.descriptor_bytes));
    if (!g.has(disk::flex_bg)) return {};
    if (raw.log_groups_per_flex > 31) return broken("its flexible groups");
    g.groups_per_flex = 1u << raw.log_groups_per_flex;
    return {};
}

Result<void> read_groups(const disk::Superblock& raw, std::uint64_t volume_bytes, Geometry& g) {
    g.blocks = joined(raw.blocks_count_lo, g.has(disk::wide) ? std::uint32_t{raw.blocks_count_hi} : 0);
    if (g.blocks > volume_bytes / g.block_bytes)
        return fail(ErrorKind::corrupt,
                    fmt::format("the file system has {} blocks of {} bytes, more than there is room for",
                                g.blocks, g.block_bytes));
    if (g.blocks <= g.first_data_block + 8ull) return broken("it has no blocks");
    const std::uint64_t groups = (g.blocks - g.first_data_block - 1) / g.blocks_per_group + 1;
    if (groups > groups_max) return unknown(fmt::format("has {} groups of blocks", groups));
    g.groups = static_cast<std::uint32_t>(groups);
    if (std::uint64_t{raw.inodes_count} != groups * g.inodes_per_group) return broken("its number of inodes");
    const std::uint64_t reserved =
        joined(raw.r_blocks_count_lo, g.has(disk::wide) ? std::uint32_t{raw.r_blocks_count_hi} : 0);
    if (reserved > g.blocks) return broken("its reserved blocks");
    return {};
}

// Descriptors: how many follow a superblock, and whether there is room for them.
Result<void> read_descriptor_places(const disk::Superblock& raw, Geometry& g) {
    g.reserved_descriptor_blocks = raw.reserved_gdt_blocks;
    g.first_meta_block = raw.first_meta_bg;
    g.backup_groups = {raw.backup_bgs[0], raw.backup_bgs[1]};
    const bool has_resize_inode = g.has(disk::has_resize_inode);
    if (g.has(disk::meta_bg)) {
        if (g.first_meta_block > g.descriptor_blocks())
            return broken("its first descriptor block of a meta group");
        if (has_resize_inode) return broken("a resize inode besides meta groups");
    }
    if (has_resize_inode && !g.has(disk::sparse_super) && !g.has(disk::sparse_super2))
        return unknown("has a resize inode and a superblock in every group");
    if (g.reserved_descriptor_blocks > (has_resize_inode ? g.block_bytes / 4 : 0))
        return broken("its reserved descriptor blocks");
    if (g.has(disk::sparse_super2) && std::max(g.backup_groups[0], g.backup_groups[1]) >= g.groups)
        return broken("its groups with backups");
    const std::uint64_t base =
        1ull + g.legacy_descriptor_blocks() + g.reserved_descriptor_blocks + 2 + g.inode_table_blocks();
    const std::uint64_t own = g.has(disk::flex_bg) ? 2ull + g.inode_table_blocks() : base;
    if (own > g.blocks_per_group || base - 2 - g.inode_table_blocks() > g.group_blocks(0))
        return broken("groups that are too small for what they hold");
    return {};
}

// "Multiple mount protection"
Result<void> check_other_machines(const Volume& volume, const Superblock& superblock) {
    const disk::Superblock& raw = superblock.raw;
    const Geometry& g = superblock.geometry;
    if (!g.has(disk::mmp)) return {};
    if (raw.mmp_block <= g.first_data_block || raw.mmp_block >= g.blocks)
        return broken("its multi-mount block");
    std::array<std::byte, sizeof(disk::MmpBlock)> bytes;
    TRY(volume.read(raw.mmp_block * g.block_bytes, bytes));
    const auto block = load<disk::MmpBlock>(bytes);
    if (block.magic != disk::mmp_magic) return broken("its multi-mount block");
    if (block.sequence == disk::mmp_clean) return {};
    return fail(ErrorKind::in_use,
                "another machine may have mounted the file system (multi-mount protection)");
}

}  // namespace

Result<Superblock> read_superblock(const Volume& volume) {
    if (volume.size() < disk::superblock_at + sizeof(disk::Superblock))
        return fail(ErrorKind::corrupt, "there is no ext2, ext3 or ext4 file system");
    std::array<std::byte, sizeof(disk::Superblock)> bytes;
    TRY(volume.read(disk::superblock_at, bytes));
    Superblock found{load<disk::Superblock>(bytes), {}};
    TRY(check_identity(found.raw, bytes));
    Geometry& g = found.geometry;
    g.compat = found.raw.feature_compat;
    g.incompat = found.raw.feature_incompat;
    g.ro_compat = found.raw.feature_ro_compat;
    g.uuid = found.raw.uuid;
    g.checksum_seed = g.has(disk::csum_seed) ? std::uint32_t{found.raw.checksum_seed} : crc32c(~0u, g.uuid);
    TRY(read_sizes(found.raw, g));
    TRY(read_groups(found.raw, volume.size(), g));
    TRY(read_descriptor_places(found.raw, g));
    return found;
}

Result<void> check_ready(const Volume& volume, const Superblock& superblock) {
    const disk::Superblock& raw = superblock.raw;
    const Geometry& g = superblock.geometry;
    if ((raw.state & disk::state_errors) != 0)
        return fail(ErrorKind::corrupt, "the file system is marked as having errors; run e2fsck on it");
    if (g.has(disk::needs_recovery))
        return fail(ErrorKind::in_use,
                    "the file system's journal was not replayed: it is mounted or was not unmounted cleanly; "
                    "start and shut down its machine once, or run e2fsck on it");
    if ((raw.state & disk::state_clean) == 0 || (raw.state & disk::state_orphans) != 0 ||
        raw.last_orphan != 0 || g.has(disk::orphan_present))
        return fail(
            ErrorKind::in_use,
            "the file system is mounted or was not unmounted cleanly; start and shut down its machine "
            "once, or run e2fsck on it");
    if (g.has(disk::read_only) || g.has(disk::shared_blocks))
        return fail(ErrorKind::unsupported, "the file system may not be written to");
    TRY(check_other_machines(volume, superblock));
    return check_journal(volume, superblock);
}

}  // namespace qimg::guest::ext4
