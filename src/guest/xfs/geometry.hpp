// Where the parts of an XFS file system are: every number of the superblock is checked once, here, and every
// conversion between groups, blocks and bytes is asked of this.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "guest/volume.hpp"
#include "guest/xfs/disk_layout.hpp"
#include "qimg/error.hpp"

namespace qimg::guest::xfs {

struct Geometry {
    std::uint32_t block_bytes = 0;   // 1024 to 65536
    std::uint32_t sector_bytes = 0;  // 512 to a block
    std::uint64_t blocks = 0;
    std::uint32_t group_blocks = 0;  // of all groups but the last one
    std::uint32_t groups = 0;
    std::uint32_t log_group = 0;
    std::uint32_t log_start = 0;  // a block of that group
    std::uint32_t log_blocks = 0;
    std::uint32_t ro_compat = 0;
    disk::Uuid uuid{};           // of metadata
    std::uint64_t head_lsn = 0;  // of the log; set by open()

    // Metadata is not newer than the log. What xfs_repair writes has no place in it.
    bool is_known_lsn(std::uint64_t lsn) const { return lsn <= head_lsn || lsn == disk::no_lsn; }
    bool has(disk::RoCompat bit) const { return (ro_compat & bit) != 0; }
    std::uint64_t bytes() const { return blocks * block_bytes; }
    std::uint32_t blocks_in(std::uint32_t group) const {
        return group + 1 < groups ? group_blocks
                                  : static_cast<std::uint32_t>(blocks - std::uint64_t{group} * group_blocks);
    }
    std::uint64_t block_at(std::uint32_t group, std::uint32_t block) const {  // a place in bytes
        return (std::uint64_t{group} * group_blocks + block) * block_bytes;
    }
    // Of superblock (0), free space (1), inodes (2) and free list (3).
    std::uint64_t sector_at(std::uint32_t group, std::uint32_t sector) const {
        return block_at(group, 0) + std::uint64_t{sector} * sector_bytes;
    }
    // The first block behind these four.
    std::uint32_t header_blocks() const { return 3 * sector_bytes / block_bytes + 1; }
    std::uint32_t list_entries() const {
        return (sector_bytes - std::uint32_t{sizeof(disk::FreeList)}) / std::uint32_t{sizeof(be32)};
    }
};

// Where the roots of an empty group are; a block that the file system does not have is 0.
struct EmptyGroup {
    std::uint32_t by_start, by_count, inode_tree, free_inode_tree, reverse_map, reference_counts;
    std::uint32_t first_free;  // all behind it is
};
EmptyGroup empty_group(const Geometry& geometry);

// The geometry with as many of `blocks` as it can use: a last group of less than 64 does not exist.
Geometry longer(const Geometry& geometry, std::uint64_t blocks);

// Groups that a file system may have here; it bounds the work.
inline constexpr std::uint64_t groups_max = 1u << 16;

struct Superblock {
    disk::Superblock raw;
    Geometry geometry;
};

// corrupt: not such a file system, or a rule of it broken, the checksum included; unsupported: it is of another
// version, or uses what is not known here. The log is not looked at.
Result<Superblock> read_superblock(const Volume& volume);

// The same of a file system at rest. in_use: its log has to be replayed first.
Result<Superblock> open(const Volume& volume);

// The end of the log, as cycle and place, when all that it holds has reached the metadata; in_use otherwise, and
// unsupported for a log without records.
Result<std::uint64_t> check_log(const Volume& volume, const Superblock& superblock);

// CRC-32C of a sector or block whose own field is at `place`.
std::uint32_t checksum_of(std::span<const std::byte> bytes, std::size_t place);
bool has_checksum(std::span<const std::byte> bytes, std::size_t place);
void set_checksum(std::span<std::byte> bytes, std::size_t place);

// The error for a rule of the format that is broken.
std::unexpected<Error> broken(std::string_view rule);

}  // namespace qimg::guest::xfs
