// Conversions and checksums.
// SPDX-License-Identifier: Apache-2.0
#include "guest/xfs/geometry.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "base/crc32c.hpp"

namespace qimg::guest::xfs {

namespace {

constexpr std::uint32_t last_group_blocks_min = 64;

}  // namespace

EmptyGroup empty_group(const Geometry& g) {
    EmptyGroup group{};
    std::uint32_t next = g.header_blocks();
    group.by_start = next++;
    group.by_count = next++;
    group.inode_tree = next++;
    if (g.has(disk::free_inode_tree)) group.free_inode_tree = next++;
    if (g.has(disk::reverse_map)) group.reverse_map = next++;
    if (g.has(disk::reflink)) group.reference_counts = next++;
    group.first_free = next;
    return group;
}

Geometry longer(const Geometry& g, std::uint64_t blocks) {
    Geometry after = g;
    const std::uint64_t whole = blocks / g.group_blocks, rest = blocks % g.group_blocks;
    const bool has_rest = rest >= last_group_blocks_min;
    const std::uint64_t usable = has_rest ? blocks : whole * g.group_blocks;
    if (usable <= g.blocks) return after;
    after.blocks = usable;
    // more than fits is refused before it counts
    after.groups = static_cast<std::uint32_t>(std::min<std::uint64_t>(whole + (has_rest ? 1 : 0), ~0u));
    return after;
}

std::uint32_t checksum_of(std::span<const std::byte> bytes, std::size_t place) {
    constexpr std::array<std::byte, 4> nothing{};
    std::uint32_t sum = crc32c(~0u, bytes.first(place));
    sum = crc32c(sum, nothing);
    return ~crc32c(sum, bytes.subspan(place + nothing.size()));
}

bool has_checksum(std::span<const std::byte> bytes, std::size_t place) {
    return load<le32>(bytes.subspan(place)) == checksum_of(bytes, place);
}

void set_checksum(std::span<std::byte> bytes, std::size_t place) {
    store(bytes.subspan(place), le32(checksum_of(bytes, place)));
}

std::unexpected<Error> broken(std::string_view rule) {
    return fail(ErrorKind::corrupt,
                fmt::format("the file system is damaged: {}; run xfs_repair on it", rule));
}

}  // namespace qimg::guest::xfs
