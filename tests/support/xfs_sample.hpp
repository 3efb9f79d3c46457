// The metadata of a small file system without files, made from the description of the format alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/bytes.hpp"
#include "base/crc32c.hpp"
#include "guest/volume.hpp"
#include "guest/xfs/disk_layout.hpp"

namespace qimg::test {

namespace xfs_disk = guest::xfs::disk;

// Blocks of 1 KiB, sectors of 512 bytes. The first of two groups has the log; the second one, which may be short, has
// the free space that is asked for. Both have their trees in front, then the blocks of the free list.
struct XfsSample {
    std::uint32_t group_blocks = 4096;
    std::uint32_t last_blocks = 2000;
    std::uint32_t ro_compat = 0xf;
    // Of the last group, by start; the default is all that nothing else takes.
    std::vector<xfs_disk::Extent> free{};
    std::uint32_t list_count = 4;
    std::uint32_t list_first = 1;
    std::uint32_t log_head = 2;  // in units of 512 bytes
    std::uint32_t log_cycle = 1;

    static constexpr std::uint32_t block_bytes = 1024, log_start = 100, log_blocks = 512;
    static constexpr std::uint32_t leaf_records = (block_bytes - 56) / 8,
                                   node_records = (block_bytes - 56) / 12;
    static constexpr std::uint64_t log_at = std::uint64_t{log_start} * block_bytes;
    static constexpr std::uint32_t log_units = log_blocks * 2;

    std::uint64_t bytes() const { return std::uint64_t{group_blocks + last_blocks} * block_bytes; }
    std::uint64_t last_at() const { return std::uint64_t{group_blocks} * block_bytes; }
    bool has(std::uint32_t bit) const { return (ro_compat & bit) != 0; }

    static void seal(std::span<std::byte> bytes, std::size_t field) {
        store(bytes.subspan(field), le32(0));
        store(bytes.subspan(field), le32(~crc32c(~0u, bytes)));
    }

    template <class T>
    static void put(guest::Volume& volume, std::uint64_t at, const T& value, std::size_t checksum,
                    std::size_t length = 512) {
        Bytes bytes(length);
        store(std::span(bytes), value);
        seal(bytes, checksum);
        volume.write(at, bytes).value();
    }

    static xfs_disk::Uuid uuid() {
        xfs_disk::Uuid uuid;
        uuid.fill(std::byte{7});
        return uuid;
    }

    // One group while its trees are written.
    struct Group {
        std::uint32_t number, blocks;
        std::uint32_t next = 2;  // the first block that nothing has
        std::uint32_t tree_blocks = 0;
        std::uint32_t by_start_levels = 0, by_count_levels = 0;
    };

    void put_block(guest::Volume& volume, const Group& group, std::uint32_t block, xfs_disk::TreeBlock header,
                   std::span<const std::byte> records) const {
        const std::uint64_t at = (std::uint64_t{group.number} * group_blocks + block) * block_bytes;
        header.place = at / 512;
        header.uuid = uuid();
        header.group = group.number;
        Bytes bytes(block_bytes);
        store(std::span(bytes), header);
        std::ranges::copy(records, bytes.begin() + sizeof header);
        seal(bytes, offsetof(xfs_disk::TreeBlock, checksum));
        volume.write(at, bytes).value();
    }

    static xfs_disk::TreeBlock header(std::uint32_t magic, std::size_t level, std::size_t count) {
        xfs_disk::TreeBlock h{};
        h.magic = magic;
        h.level = static_cast<std::uint16_t>(level);
        h.count = static_cast<std::uint16_t>(count);
        h.left = h.right = ~0u;
        return h;
    }

    // All blocks but the last of each level are as full as they can be, and that one at least half.
    std::uint32_t put_tree(guest::Volume& volume, Group& group, std::uint32_t magic,
                           std::vector<xfs_disk::Extent> items, std::uint32_t& levels) const {
        std::vector<be32> below;
        for (levels = 1;; ++levels) {
            const std::size_t most = levels == 1 ? leaf_records : node_records;
            std::vector<xfs_disk::Extent> keys;
            std::vector<be32> blocks;
            std::vector<std::size_t> counts{std::min(items.size(), most)};
            for (std::size_t left = items.size() - counts[0]; left > 0; left -= counts.back())
                counts.push_back(std::min(left, most));
            if (counts.size() > 1 && counts.back() < most / 2) {
                counts[counts.size() - 2] -= most / 2;
                counts.back() += most / 2;
            }
            for (std::size_t i = 0; i < counts.size(); ++i)
                blocks.push_back(group.next++);
            std::size_t from = 0;
            for (std::size_t i = 0; i < counts.size(); ++i) {
                Bytes records(block_bytes - 56);
                for (std::size_t j = 0; j < counts[i]; ++j) {
                    store(std::span(records).subspan(j * 8), items[from + j]);
                    if (levels > 1) store(std::span(records).subspan(most * 8 + j * 4), below[from + j]);
                }
                auto h = header(magic, levels - 1, counts[i]);
                if (i > 0) h.left = blocks[i - 1];
                if (i + 1 < blocks.size()) h.right = blocks[i + 1];
                put_block(volume, group, blocks[i], h, records);
                keys.push_back(items.empty() ? xfs_disk::Extent{} : items[from]);
                from += counts[i];
            }
            if (blocks.size() == 1) return blocks[0];
            group.tree_blocks += static_cast<std::uint32_t>(blocks.size());
            items = keys;
            below = blocks;
        }
    }

    std::uint32_t put_empty_tree(guest::Volume& volume, Group& group, std::uint32_t magic) const {
        put_block(volume, group, group.next, header(magic, 0, 0), {});
        return group.next++;
    }

    void put_inodes(guest::Volume& volume, Group& group) const {
        xfs_disk::Inodes h{};
        h.magic = xfs_disk::inodes_magic;
        h.version = 1;
        h.group = group.number;
        h.blocks = group.blocks;
        h.root = put_empty_tree(volume, group, xfs_disk::inode_tree_magic);
        h.levels = 1;
        if (has(xfs_disk::free_inode_tree)) {
            h.free_root = put_empty_tree(volume, group, xfs_disk::free_inode_magic);
            h.free_levels = 1;
        }
        h.uuid = uuid();
        put(volume, std::uint64_t{group.number} * group_blocks * block_bytes + 1024, h,
            offsetof(xfs_disk::Inodes, checksum));
    }

    void put_list(guest::Volume& volume, Group& group) const {
        xfs_disk::FreeList h{};
        h.magic = xfs_disk::free_list_magic;
        h.group = group.number;
        h.uuid = uuid();
        Bytes bytes(512);
        store(std::span(bytes), h);
        for (std::uint32_t i = 0; i < list_count; ++i)
            store(std::span(bytes).subspan(36 + (list_first + i) % 119 * 4), be32(group.next++));
        seal(bytes, offsetof(xfs_disk::FreeList, checksum));
        volume.write(std::uint64_t{group.number} * group_blocks * block_bytes + 1536, bytes).value();
    }

    // What counts as free: the extents, and blocks for trees.
    std::uint64_t put_group(guest::Volume& volume, Group group, std::vector<xfs_disk::Extent> extents,
                            bool takes_rest) const {
        xfs_disk::FreeSpace h{};
        h.magic = xfs_disk::free_space_magic;
        h.version = 1;
        h.group = group.number;
        h.blocks = group.blocks;
        h.uuid = uuid();
        put_inodes(volume, group);
        if (has(xfs_disk::reverse_map)) {
            h.reverse_map_root = put_empty_tree(volume, group, xfs_disk::reverse_map_magic);
            h.reverse_map_levels = h.reverse_map_blocks = 1;
        }
        if (has(xfs_disk::reflink)) {
            h.reference_count_root = put_empty_tree(volume, group, xfs_disk::reference_count_magic);
            h.reference_count_levels = h.reference_count_blocks = 1;
        }
        put_list(volume, group);
        if (takes_rest) extents.push_back({group.next + 2, group.blocks - group.next - 2});
        std::uint32_t levels = 0;
        h.by_start_root = put_tree(volume, group, xfs_disk::by_start_magic, extents, levels);
        h.by_start_levels = levels;
        std::ranges::sort(extents, [](const auto& a, const auto& b) {
            return a.count != b.count ? a.count < b.count : a.start < b.start;
        });
        h.by_count_root = put_tree(volume, group, xfs_disk::by_count_magic, extents, levels);
        h.by_count_levels = levels;
        std::uint32_t sum = 0;
        for (const auto& extent : extents)
            sum += extent.count;
        h.free_blocks = sum;
        h.longest = extents.empty() ? 0u : std::uint32_t{extents.back().count};
        h.list_first = list_first;
        h.list_count = list_count;
        h.list_last = (list_first + list_count + 118) % 119;
        h.tree_blocks = group.tree_blocks;
        put(volume, std::uint64_t{group.number} * group_blocks * block_bytes + 512, h,
            offsetof(xfs_disk::FreeSpace, checksum));
        return std::uint64_t{sum} + list_count + group.tree_blocks;
    }

    void put_unit(guest::Volume& volume, std::uint32_t unit, std::span<const std::byte> bytes) const {
        volume.write(log_at + std::uint64_t{unit % log_units} * 512, bytes).value();
    }

    // Every unit has its cycle; in front of the head is the record of an unmount, of a header and one unit.
    void put_log(guest::Volume& volume) const {
        for (std::uint32_t unit = 0; unit < log_units; ++unit) {
            Bytes bytes(512);
            store(std::span(bytes), be32(unit < log_head ? log_cycle : log_cycle - 1));
            put_unit(volume, unit, bytes);
        }
        const std::uint32_t place = (log_head + log_units - 2) % log_units;
        const auto cycle_of = [&](std::uint32_t unit) { return unit < log_head ? log_cycle : log_cycle - 1; };
        xfs_disk::LogRecord record{};
        record.magic = xfs_disk::log_record_magic;
        record.cycle = cycle_of(place);
        record.version = 2;
        record.bytes = 512;
        record.lsn = std::uint64_t{record.cycle} << 32 | place;
        record.operations = 1;
        record.uuid = uuid();
        record.buffer_bytes = 32768;
        Bytes bytes(512);
        store(std::span(bytes), record);
        put_unit(volume, place, bytes);
        bytes.assign(512, std::byte{0});
        store(std::span(bytes), be32(cycle_of((place + 1) % log_units)));
        bytes[9] = std::byte{xfs_disk::log_unmount};
        put_unit(volume, place + 1, bytes);
    }

    xfs_disk::Superblock superblock(std::uint64_t free_blocks) const {
        xfs_disk::Superblock s{};
        s.magic = xfs_disk::superblock_magic;
        s.block_bytes = block_bytes;
        s.blocks = group_blocks + last_blocks;
        s.uuid = uuid();
        s.log_start = log_start;
        s.group_blocks = group_blocks;
        s.groups = 2;
        s.log_blocks = log_blocks;
        s.version = std::uint16_t{0xb4a5};
        s.sector_bytes = 512;
        s.inode_bytes = 512;
        s.block_log = 10;
        s.sector_log = 9;
        s.group_blocks_log = static_cast<std::uint8_t>(std::bit_width(group_blocks - 1));
        s.free_blocks = free_blocks;
        s.features2 = s.bad_features2 = 0x18a;
        s.ro_compat = ro_compat;
        s.incompat = 0xb;
        return s;
    }

    void write_to(guest::Volume& volume) const {
        const std::uint32_t log_end = log_start + log_blocks;
        std::uint64_t free_blocks =
            put_group(volume, {0, group_blocks}, {{log_end, group_blocks - log_end}}, false);
        free_blocks += put_group(volume, {1, last_blocks}, free, free.empty());
        put_log(volume);
        put(volume, 0, superblock(free_blocks), offsetof(xfs_disk::Superblock, checksum));
    }
};

}  // namespace qimg::test
