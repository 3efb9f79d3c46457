// One number in three places: leaf, superblock, and the superblock's copy of the leaf's item.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/grow.hpp"

#include <span>

#include "base/try.hpp"
#include "guest/btrfs/chunk_tree.hpp"
#include "guest/btrfs/replacement.hpp"
#include "guest/btrfs/superblock.hpp"

namespace qimg::guest::btrfs {

namespace {

Result<void> write_device(Volume& volume, const Superblock& superblock, DeviceLeaf leaf) {
    const auto block = std::span(leaf.content);
    auto item = load<disk::DeviceItem>(block.subspan(leaf.item_at));
    item.total_bytes = superblock.device_bytes();
    store(block.subspan(leaf.item_at), item);
    const Checksum sum = checksum_of_block(superblock.checksum_type, block);
    store(block, sum);
    for (const std::uint64_t place : leaf.places)
        TRY(volume.write(place, block));
    return {};
}

}  // namespace

Result<Device> read_device(const Volume& volume) {
    const auto raw = TRY(read_unchecked(volume));
    return Device{raw.device.id, raw.device.total_bytes, unknown_part(raw)};
}

Result<Growth> grow(Volume& volume) {
    Superblock superblock = TRY(read_superblock(volume));
    TRY(check_ready(volume, superblock));
    DeviceLeaf leaf = TRY(read_chunk_tree(volume, superblock));
    TRY(check_no_replacement(volume, superblock));
    disk::Superblock& raw = superblock.raw;
    const std::uint64_t old_bytes = superblock.device_bytes();
    const std::uint64_t new_bytes = volume.size() / raw.sector_bytes * raw.sector_bytes;
    if (new_bytes <= old_bytes) return Growth{old_bytes, old_bytes};
    raw.device.total_bytes = new_bytes;
    raw.total_bytes = new_bytes;
    // an older state with the same chunk tree is as long from now on
    for (disk::RootBackup& backup : raw.backups) {
        if (backup.chunk_root == raw.chunk_root) backup.total_bytes = new_bytes;
    }
    TRY(write_device(volume, superblock, std::move(leaf)));
    TRY(write_superblock(volume, superblock));
    return Growth{old_bytes, new_bytes};
}

Result<void> verify(const Volume& volume, const Growth& growth) {
    const Superblock superblock = TRY(read_superblock(volume));
    if (superblock.device_bytes() != growth.new_bytes || superblock.raw.total_bytes != growth.new_bytes)
        return broken("it is not as long as it shall be");
    TRY(check_copies(volume, superblock));
    const DeviceLeaf leaf = TRY(read_chunk_tree(volume, superblock));
    return leaf.content.empty() ? broken("its device") : Result<void>();
}

}  // namespace qimg::guest::btrfs
