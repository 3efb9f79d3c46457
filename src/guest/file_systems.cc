// Which file systems grow here, and what grows the others.
// SPDX-License-Identifier: Apache-2.0
#include "guest/file_systems.hpp"

#include <utility>

#include "base/text.hpp"
#include "base/try.hpp"
#include "guest/btrfs/grow.hpp"
#include "guest/ext4/grow.hpp"
#include "guest/ext4/verify.hpp"
#include "guest/xfs/grow.hpp"
#include "guest/xfs/verify.hpp"

namespace qimg::guest {

namespace {

// Less than a file system may be able to use: its own unit is larger.
constexpr std::uint64_t unused_bytes_max = 4 * MiB;

std::string remedy_for(Content content) {
    switch (content) {
        case Content::f2fs:
            return "run `resize.f2fs DEVICE` while it is not mounted";
        case Content::ntfs:
            return "extend the volume in the guest, or run `ntfsresize DEVICE`";
        case Content::lvm2:
            return "run `pvresize DEVICE` in the guest, then `lvextend -r -l +100%FREE VOLUME`";
        case Content::luks:
            return "run `cryptsetup resize NAME` in the guest, then grow what is inside";
        case Content::swap:
            return "run `mkswap DEVICE` in the guest while it is not in use";
        case Content::fat12:
        case Content::fat16:
        case Content::fat32:
            return "run `fatresize -s max DEVICE` while it is not mounted";
        case Content::ext2:
        case Content::ext3:
        case Content::ext4:
        case Content::btrfs:
        case Content::xfs:
        case Content::iso9660:
        case Content::squashfs:
            break;
    }
    return "nothing: it never becomes longer";
}

// Nobody but a program in the guest makes it longer: `remedy`. `bytes`: how long it is, where it tells.
FileSystemGrowth left_to_guest(const Volume& volume, std::optional<std::uint64_t> bytes, bool grew,
                               std::string remedy) {
    FileSystemGrowth growth{bytes, bytes, !grew, {}};
    if (bytes) growth.fills = *bytes >= volume.size() || volume.size() - *bytes < unused_bytes_max;
    if (!growth.fills) growth.remaining = std::move(remedy);
    return growth;
}

// Once it is done nothing is left to do: a rest that is too small for a group stays unused.
Result<FileSystemGrowth> grow_ext4(Volume& volume, Progress& progress) {
    const ext4::Growth growth = TRY(ext4::grow(volume, progress));
    if (growth.new_bytes != growth.old_bytes) TRY(ext4::verify(volume, growth));
    return FileSystemGrowth{growth.old_bytes, growth.new_bytes, true, {}};
}

// One of several devices is as long as itself, whatever the file system's length is.
Result<FileSystemGrowth> grow_btrfs(Volume& volume, bool grew) {
    const btrfs::Device device = TRY(btrfs::read_device(volume));
    if (!device.guest_only.empty()) {
        return left_to_guest(volume, device.bytes, grew,
                             fmt::format("run `btrfs filesystem resize {}:max MOUNTPOINT` in the guest ({})",
                                         device.number, device.guest_only));
    }
    const Growth growth = TRY(btrfs::grow(volume));
    if (growth.new_bytes != growth.old_bytes) TRY(btrfs::verify(volume, growth));
    return FileSystemGrowth{growth.old_bytes, growth.new_bytes, true, {}};
}

// What is not known here the guest's kernel may know, which can grow it, too.
Result<FileSystemGrowth> grow_xfs(Volume& volume, std::optional<std::uint64_t> bytes, bool grew,
                                  Progress& progress) {
    const auto growth = xfs::grow(volume, progress);
    if (!growth && growth.error().kind == ErrorKind::unsupported) {
        return left_to_guest(
            volume, bytes, grew,
            fmt::format("run `xfs_growfs MOUNTPOINT` in the guest ({})", growth.error().message));
    }
    if (!growth) return std::unexpected<Error>(growth.error());
    if (growth->new_bytes != growth->old_bytes) TRY(xfs::verify(volume, *growth));
    return FileSystemGrowth{growth->old_bytes, growth->new_bytes, true, {}};
}

}  // namespace

Result<FileSystemGrowth> grow_file_system(Volume& volume, const std::optional<FileSystem>& found, bool grew,
                                          Progress& progress) {
    if (!found)
        return FileSystemGrowth{std::nullopt, std::nullopt, !grew,
                                grew ? "grow what is in the partition, which is not known" : ""};
    if (is_ext(found->content)) return grow_ext4(volume, progress);
    if (found->content == Content::btrfs) return grow_btrfs(volume, grew);
    if (found->content == Content::xfs) return grow_xfs(volume, found->bytes, grew, progress);
    return left_to_guest(volume, found->bytes, grew, remedy_for(found->content));
}

}  // namespace qimg::guest
