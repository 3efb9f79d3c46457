// What is wrong with a superblock, and which of its places are in use.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/superblock.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::guest::btrfs {

namespace {

using Block = std::array<std::byte, disk::superblock_bytes>;

constexpr std::string_view start_once = "start and shut down its machine once";

bool is_size(std::uint32_t bytes) {
    return std::has_single_bit(bytes) && bytes >= 4 * KiB && bytes <= 64 * KiB;
}

bool has_place(const disk::Superblock& raw, std::uint64_t place) {
    return raw.device.total_bytes > place + disk::superblock_bytes;
}

// Of what belongs at `place`: identity and checksum.
bool is_whole(const Block& block, std::uint64_t place, ChecksumType type) {
    const auto raw = load<disk::Superblock>(block);
    return raw.magic == disk::superblock_magic && raw.place == place &&
           raw.checksum == checksum_of_block(type, block);
}

Result<void> check_sizes(const disk::Superblock& raw, std::uint64_t volume_bytes) {
    if (!is_size(raw.sector_bytes)) return broken("its sector size");
    if (!is_size(raw.node_bytes) || raw.node_bytes < raw.sector_bytes || raw.leaf_bytes != raw.node_bytes)
        return broken("its node size");
    const std::uint64_t bytes = raw.device.total_bytes;
    if (bytes > volume_bytes) return broken("it is longer than there is room");
    if (!has_place(raw, disk::superblocks_at.front())) return broken("its length");
    // each was rounded down to sectors, by some kernels only one of both
    const std::uint64_t difference =
        raw.total_bytes > bytes ? raw.total_bytes - bytes : bytes - raw.total_bytes;
    if (difference >= raw.sector_bytes)
        return broken("its length and that of its device (btrfs rescue fix-device-size)");
    if (raw.device.bytes_used > bytes) return broken("its device's use");
    return {};
}

Result<void> check_roots(const Superblock& superblock) {
    const disk::Superblock& raw = superblock.raw;
    if (raw.device.fsid != superblock.tree_fsid()) return broken("its device's file system");
    if (raw.root_level > disk::level_max || raw.chunk_root_level > disk::level_max ||
        raw.chunk_root % raw.sector_bytes != 0 || raw.chunk_root_generation > raw.generation)
        return broken("its roots");
    if (raw.system_chunks_bytes > disk::system_chunks_bytes_max) return broken("its system chunks");
    return {};
}

Result<void> check_flags(const disk::Superblock& raw) {
    if ((raw.flags & disk::has_errors) != 0)
        return fail(ErrorKind::corrupt, "the file system is marked as having errors; run btrfs check on it");
    if ((raw.flags & disk::seeding) != 0)
        return fail(ErrorKind::unsupported,
                    "the file system is a seed for others, which nobody writes to; clear that with "
                    "btrfstune -S 0 first");
    if ((raw.flags & (disk::metadump | disk::metadump_v2)) != 0)
        return fail(ErrorKind::unsupported, "this is a dump of a file system's metadata (btrfs-image)");
    if ((raw.flags & ~std::uint64_t{disk::written}) != 0)
        return fail(ErrorKind::unsupported,
                    "the file system is being converted, or marked in a way that is not known; let btrfstune "
                    "finish");
    if (raw.log_root != 0)
        return failf(ErrorKind::in_use,
                     "the file system's log was not replayed: it is mounted or was not unmounted cleanly; {}",
                     start_once);
    return {};
}

Result<Block> read_copy(const Volume& volume, std::uint64_t place) {
    Block block{};
    TRY(volume.read(place, block));
    return block;
}

}  // namespace

std::unexpected<Error> broken(std::string_view rule) {
    return failf(ErrorKind::corrupt, "the file system is damaged: {}; run btrfs check on it", rule);
}

const disk::Uuid& Superblock::tree_fsid() const {
    return (raw.incompat_flags & disk::has_metadata_uuid) != 0 ? raw.metadata_uuid : raw.fsid;
}

Result<disk::Superblock> read_unchecked(const Volume& volume) {
    constexpr std::uint64_t first = disk::superblocks_at.front();
    if (volume.size() < first + disk::superblock_bytes)
        return fail(ErrorKind::corrupt, "there is no btrfs file system");
    const Block block = TRY(read_copy(volume, first));
    const auto raw = load<disk::Superblock>(block);
    if (raw.magic != disk::superblock_magic) return fail(ErrorKind::corrupt, "there is no btrfs file system");
    return raw;
}

std::string unknown_part(const disk::Superblock& raw) {
    if (raw.devices != 1) return fmt::format("the file system is on {} devices", +raw.devices);
    if (!checksum_type(raw.checksum_type))
        return fmt::format("its checksums are of type {}, which is not known here", +raw.checksum_type);
    const std::uint64_t incompat = raw.incompat_flags & ~std::uint64_t{disk::incompat_known};
    const std::uint64_t compat_ro = raw.compat_ro_flags & ~disk::compat_ro_known;
    if ((incompat | compat_ro) == 0) return "";
    return fmt::format("it has features that are not known here: incompat_flags {:#x}, compat_ro_flags {:#x}",
                       incompat, compat_ro);
}

Result<Superblock> read_superblock(const Volume& volume) {
    Superblock found{};
    found.raw = TRY(read_unchecked(volume));
    if (std::string unknown = unknown_part(found.raw); !unknown.empty())
        return fail(ErrorKind::unsupported, std::move(unknown));
    found.checksum_type = *checksum_type(found.raw.checksum_type);
    Block block;
    store(std::span(block), found.raw);
    if (!is_whole(block, disk::superblocks_at.front(), found.checksum_type))
        return broken("its superblock's checksum");
    TRY(check_sizes(found.raw, volume.size()));
    TRY(check_roots(found));
    return found;
}

Result<void> check_ready(const Volume& volume, const Superblock& superblock) {
    TRY(check_flags(superblock.raw));
    for (const std::uint64_t place : disk::superblocks_at) {
        if (!has_place(superblock.raw, place)) continue;
        const Block block = TRY(read_copy(volume, place));
        const auto raw = load<disk::Superblock>(block);
        if (!is_whole(block, place, superblock.checksum_type) || raw.fsid != superblock.raw.fsid)
            return failf(ErrorKind::corrupt, "the copy of the superblock at {:#x} is damaged; {}", place,
                         start_once);
        if (raw.generation > superblock.raw.generation)
            return failf(
                ErrorKind::corrupt,
                "the copy of the superblock at {:#x} is newer than the first; {}, or run btrfs rescue "
                "super-recover",
                place, start_once);
    }
    return {};
}

Result<void> check_copies(const Volume& volume, const Superblock& superblock) {
    for (const std::uint64_t place : disk::superblocks_at) {
        if (!has_place(superblock.raw, place)) continue;
        const Block block = TRY(read_copy(volume, place));
        auto raw = load<disk::Superblock>(block);
        if (!is_whole(block, place, superblock.checksum_type)) return broken("a copy of its superblock");
        raw.place = superblock.raw.place;
        raw.checksum = superblock.raw.checksum;
        Block copy, first;
        store(std::span(copy), raw);
        store(std::span(first), superblock.raw);
        if (copy != first) return broken("its superblocks differ");
    }
    return {};
}

Result<void> write_superblock(Volume& volume, const Superblock& superblock) {
    for (const std::uint64_t place : disk::superblocks_at) {
        if (!has_place(superblock.raw, place)) continue;
        disk::Superblock raw = superblock.raw;
        raw.place = place;
        Block block;
        store(std::span(block), raw);
        const Checksum sum = checksum_of_block(superblock.checksum_type, block);
        store(std::span(block), sum);
        TRY(volume.write(place, block));
    }
    return {};
}

bool is_for_superblocks(std::uint64_t start, std::uint64_t bytes) {
    return std::ranges::any_of(disk::superblocks_at, [&](std::uint64_t place) {
        return start < place + disk::superblock_bytes && place < start + bytes;
    });
}

}  // namespace qimg::guest::btrfs
