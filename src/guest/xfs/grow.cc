// The last group, new groups, copies of the superblock, and the superblock itself.
// SPDX-License-Identifier: Apache-2.0
#include "guest/xfs/grow.hpp"

#include <fmt/core.h>

#include <optional>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/xfs/last_group.hpp"
#include "guest/xfs/new_group.hpp"
#include "guest/xfs/verify.hpp"

namespace qimg::guest::xfs {

namespace {

// The file system's first sector as it will be.
Result<Bytes> grown_superblock(const Volume& volume, const Superblock& found, const Geometry& after) {
    const Geometry& before = found.geometry;
    const std::uint64_t new_groups = after.groups - before.groups;
    Bytes sector(before.sector_bytes);
    TRY(volume.read(0, sector));
    auto raw = load<disk::Superblock>(sector);
    raw.blocks = after.blocks;
    raw.groups = after.groups;
    raw.free_blocks =
        raw.free_blocks + (after.blocks - before.blocks) - new_groups * empty_group(after).first_free;
    store(std::span(sector), raw);
    return sector;
}

// A copy has no place in the log.
Bytes copy_of(const Bytes& superblock) {
    Bytes copy = superblock;
    store(std::span(copy).subspan(offsetof(disk::Superblock, lsn)), be64(0));
    set_checksum(copy, offsetof(disk::Superblock, checksum));
    return copy;
}

Result<void> write_groups(Volume& volume, const Geometry& before, const Geometry& after,
                          const Bytes& superblock, Progress& progress) {
    const Bytes copy = copy_of(superblock);
    for (std::uint32_t group = 1; group < after.groups; ++group) {
        if (progress.cancelled()) return fail(ErrorKind::cancelled, "cancelled");
        TRY(volume.write(after.block_at(group, 0),
                         group < before.groups ? copy : new_group(after, group, copy)));
        progress.update(group, after.groups);
    }
    return {};
}

}  // namespace

Result<Growth> grow(Volume& volume, Progress& progress) {
    const Superblock found = TRY(open(volume));
    const Geometry& before = found.geometry;
    const Geometry after = longer(before, volume.size() / before.block_bytes);
    const Growth growth{before.bytes(), after.bytes(), before.groups, after.groups};
    if (after.blocks == before.blocks) return growth;
    if (after.groups > groups_max)
        return fail(ErrorKind::unsupported,
                    fmt::format("the file system would have {} allocation groups", after.groups));
    TRY(verify(volume, Scope{.first_group = before.groups - 1}));
    std::optional<LastGroup> last;
    if (after.blocks_in(before.groups - 1) != before.blocks_in(before.groups - 1))
        last = TRY(LastGroup::plan(volume, before, after));
    Bytes superblock = TRY(grown_superblock(volume, found, after));
    if (last) TRY(last->write(volume));
    TRY(write_groups(volume, before, after, superblock, progress));
    set_checksum(superblock, offsetof(disk::Superblock, checksum));
    TRY(volume.write(0, superblock));
    progress.update(after.groups, after.groups);
    return growth;
}

}  // namespace qimg::guest::xfs
