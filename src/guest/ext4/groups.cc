// Descriptors are read block by block; what each leads to is checked before it is handed out.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/groups.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/ext4/checksum.hpp"

namespace qimg::guest::ext4 {

namespace {

std::unexpected<Error> broken(std::uint32_t group, std::string_view rule) {
    return fail(ErrorKind::corrupt,
                fmt::format("the file system's group {} is damaged: {}; run e2fsck on it", group, rule));
}

std::uint16_t checksum_of(const Geometry& g, std::uint32_t group, std::span<const std::byte> bytes) {
    constexpr std::size_t at = offsetof(disk::GroupDescriptor, checksum);
    constexpr std::array<std::byte, 2> zero{};
    std::array<std::byte, 4> number;
    store(number, le32(group));
    const auto head = bytes.first(at);
    const auto tail = bytes.subspan(at + zero.size());
    if (g.has(disk::metadata_csum))
        return static_cast<std::uint16_t>(
            crc32c(crc32c(crc32c(crc32c(g.checksum_seed, number), head), zero), tail));
    return crc16(crc16(crc16(crc16(0xffff, g.uuid), number), head), tail);
}

Group parse(const Geometry& g, const disk::GroupDescriptor& raw) {
    Group group;
    group.block_bitmap = joined(raw.block_bitmap_lo, raw.block_bitmap_hi);
    group.inode_bitmap = joined(raw.inode_bitmap_lo, raw.inode_bitmap_hi);
    group.inode_table = joined(raw.inode_table_lo, raw.inode_table_hi);
    const auto wide = [](std::uint16_t low, std::uint16_t high) {
        return std::uint32_t{low} | std::uint32_t{high} << 16;
    };
    group.free_blocks = wide(raw.free_blocks_count_lo, raw.free_blocks_count_hi);
    group.free_inodes = wide(raw.free_inodes_count_lo, raw.free_inodes_count_hi);
    group.block_bitmap_checksum = wide(raw.block_bitmap_csum_lo, raw.block_bitmap_csum_hi);
    group.inode_bitmap_checksum = wide(raw.inode_bitmap_csum_lo, raw.inode_bitmap_csum_hi);
    if (g.has_flags()) group.flags = raw.flags;
    return group;
}

Result<void> check_places(const Geometry& g, std::uint32_t number, const Group& group) {
    const bool anywhere = g.has(disk::flex_bg);
    const std::uint64_t start = anywhere ? g.first_data_block : g.group_start(number);
    const std::uint64_t end = anywhere ? g.blocks : start + g.group_blocks(number);
    const auto lies_inside = [&](std::uint64_t block, std::uint32_t count) {
        return block >= start && block < end && count <= end - block;
    };
    if (!lies_inside(group.block_bitmap, 1)) return broken(number, "the place of its block bitmap");
    if (!lies_inside(group.inode_bitmap, 1)) return broken(number, "the place of its inode bitmap");
    if (!lies_inside(group.inode_table, g.inode_table_blocks()))
        return broken(number, "the place of its inode table");
    if (group.free_blocks > g.group_blocks(number)) return broken(number, "its number of free blocks");
    if (group.free_inodes > g.inodes_per_group) return broken(number, "its number of free inodes");
    return {};
}

}  // namespace

Result<std::vector<Group>> read_groups(const Volume& volume, const Geometry& g) {
    std::vector<Group> groups;
    groups.reserve(g.groups);
    Bytes block(g.block_bytes);
    for (std::uint32_t number = 0; number < g.groups; ++number) {
        const std::uint32_t place = number % g.descriptors_per_block();
        if (place == 0)
            TRY(volume.read(g.descriptor_block(number / g.descriptors_per_block()) * g.block_bytes, block));
        const auto bytes = std::span<const std::byte>(block).subspan(std::size_t{place} * g.descriptor_bytes,
                                                                     g.descriptor_bytes);
        disk::GroupDescriptor raw{};
        std::memcpy(&raw, bytes.data(), bytes.size());
        if (g.has_flags() && raw.checksum != checksum_of(g, number, bytes))
            return broken(number, "its checksum is wrong");
        groups.push_back(parse(g, raw));
        TRY(check_places(g, number, groups.back()));
    }
    return groups;
}

Result<std::vector<Claim>> claims_of(const Geometry& g, std::span<const Group> groups) {
    std::vector<Claim> claims;
    claims.reserve(groups.size() * 4);
    for (std::uint32_t number = 0; number < groups.size(); ++number) {
        const Group& group = groups[number];
        if (const std::uint32_t base = g.base_blocks(number); base != 0)
            claims.push_back({{g.group_start(number), base}, number});
        claims.push_back({{group.block_bitmap, 1}, number});
        claims.push_back({{group.inode_bitmap, 1}, number});
        claims.push_back({{group.inode_table, g.inode_table_blocks()}, number});
    }
    std::ranges::sort(claims, {}, [](const Claim& claim) { return claim.run.start; });
    for (std::size_t i = 1; i < claims.size(); ++i) {
        if (claims[i].run.start < claims[i - 1].run.end())
            return broken(claims[i].group, fmt::format("its metadata at block {} is also that of group {}",
                                                       claims[i].run.start, claims[i - 1].group));
    }
    if (!claims.empty() && claims.back().run.end() > g.blocks)
        return broken(claims.back().group, "it is too small for its metadata");
    return claims;
}

std::span<const Claim> claims_within(std::span<const Claim> claims, std::uint64_t start, std::uint64_t end) {
    const auto first =
        std::ranges::upper_bound(claims, start, {}, [](const Claim& claim) { return claim.run.end(); });
    const auto last =
        std::ranges::lower_bound(claims, end, {}, [](const Claim& claim) { return claim.run.start; });
    return {first, std::max(first, last)};
}

bool has_checksum(const Geometry& g, std::span<const std::byte> bits, std::uint32_t expected) {
    if (!g.has(disk::metadata_csum)) return true;
    const std::uint32_t sum = crc32c(g.checksum_seed, bits);
    return g.has(disk::wide) ? sum == expected : (sum & 0xffff) == expected;
}

}  // namespace qimg::guest::ext4
