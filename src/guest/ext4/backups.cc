// Copies are compared with the first ones, a piece at a time.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/backups.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/ext4/checksum.hpp"

namespace qimg::guest::ext4 {

namespace {

std::unexpected<Error> differs(std::string_view what, std::uint32_t group) {
    return fail(
        ErrorKind::corrupt,
        fmt::format("the file system's copy of {} in group {} differs; run e2fsck on it", what, group));
}

Result<void> check_superblock(const Volume& volume, const Geometry& g, std::uint32_t group) {
    using Raw = std::array<std::byte, sizeof(disk::Superblock)>;
    Raw first, copy;
    TRY(volume.read(disk::superblock_at, first));
    TRY(volume.read(g.group_start(group) * g.block_bytes, copy));
    const auto found = load<disk::Superblock>(copy);
    const std::uint32_t sum = crc32c(~0u, std::span(copy).first(offsetof(disk::Superblock, checksum)));
    if (g.has(disk::metadata_csum) && sum != found.checksum) return differs("the superblock", group);
    // a field of 16 bits: the largest stands for all groups that it cannot tell
    if (found.block_group_nr != std::min(group, 0xffffu)) return differs("the superblock", group);
    for (Raw* raw : {&first, &copy}) {
        auto fields = load<disk::Superblock>(*raw);
        fields.state = 0;
        fields.block_group_nr = 0;
        fields.checksum = 0;
        store(*raw, fields);
    }
    if (first != copy) return differs("the superblock", group);
    return {};
}

class DescriptorCheck {
  public:
    DescriptorCheck(const Volume& volume, const Geometry& geometry)
        : volume_(volume), g_(geometry), first_(chunk_bytes), copy_(chunk_bytes) {}

    Result<void> check(std::uint64_t first, std::uint64_t copy, std::uint32_t blocks, std::uint32_t group) {
        std::uint64_t left = std::uint64_t{blocks} * g_.block_bytes;
        std::uint64_t at = first * g_.block_bytes, copy_at = copy * g_.block_bytes;
        while (left > 0) {
            const std::size_t bytes = std::min<std::uint64_t>(left, chunk_bytes);
            TRY(volume_.read(at, std::span(first_).first(bytes)));
            TRY(volume_.read(copy_at, std::span(copy_).first(bytes)));
            if (std::memcmp(first_.data(), copy_.data(), bytes) != 0)
                return differs("the group descriptors", group);
            at += bytes;
            copy_at += bytes;
            left -= bytes;
        }
        return {};
    }

  private:
    static constexpr std::size_t chunk_bytes = 512 << 10;
    const Volume& volume_;
    const Geometry& g_;
    Bytes first_, copy_;
};

}  // namespace

Result<void> check_backups(const Volume& volume, const Geometry& g) {
    DescriptorCheck descriptors(volume, g);
    const std::uint32_t per_block = g.descriptors_per_block();
    for (std::uint32_t group = 1; group < g.groups; ++group) {
        const bool has_superblock = g.has_superblock(group);
        if (has_superblock) TRY(check_superblock(volume, g, group));
        const std::uint64_t place = g.group_start(group) + (has_superblock ? 1 : 0);
        const std::uint32_t number = group / per_block;
        if (number < g.legacy_descriptor_blocks()) {
            if (has_superblock)
                TRY(descriptors.check(g.descriptor_block(0), place, g.legacy_descriptor_blocks(), group));
        } else if (group % per_block == 1 || group % per_block == per_block - 1) {
            TRY(descriptors.check(g.descriptor_block(number), place, 1, group));
        }
    }
    return {};
}

}  // namespace qimg::guest::ext4
