// Reads arbitrary bytes as an XFS file system and grows it: it is refused with a reason, or it grows to what the
// verification accepts and then stays as it is; what is left to others is left as it is.
//
// An input is a volume's size in KiB, stretches of bytes with their places, and a tail that tells whether checksums
// and counts are made right first, and when writing fails.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "base/bytes.hpp"
#include "guest/xfs/group.hpp"
#include "guest/xfs/grow.hpp"
#include "guest/xfs/verify.hpp"
#include "heap_limit.hpp"
#include "qimg/units.hpp"
#include "support/memory_volume.hpp"
#include "tail.hpp"
#include "volume_input.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::MemoryVolume;
namespace disk = xfs::disk;

namespace {

constexpr int writes_max = 500;

MemoryVolume volume_of(std::span<const std::byte> input) {
    constexpr std::uint64_t kib_max = 1 << 18;
    MemoryVolume volume(fuzz::kib_of(input) % kib_max * KiB);
    (void)fuzz::write_stretches<le32>(volume, input);
    return volume;
}

// What lies outside the volume is nobody's.
Bytes read_at(const MemoryVolume& volume, std::uint64_t at, std::size_t bytes) {
    Bytes found(bytes);
    (void)volume.read(at, found).has_value();
    return found;
}
void write_sealed(MemoryVolume& volume, std::uint64_t at, Bytes bytes, std::size_t checksum) {
    xfs::set_checksum(bytes, checksum);
    (void)volume.write(at, bytes).has_value();
}

// Makes right what few mutations get past.
class Repair {
  public:
    explicit Repair(MemoryVolume& volume) : volume_(volume) {}

    void seal_superblock() {
        const auto raw = load<disk::Superblock>(read_at(volume_, 0, sizeof(disk::Superblock)));
        const std::size_t bytes = std::clamp<std::size_t>(raw.sector_bytes, 512, 32768);
        write_sealed(volume_, 0, read_at(volume_, 0, bytes), offsetof(disk::Superblock, checksum));
    }

    void seal_groups(const xfs::Geometry& g) {
        for (std::uint32_t group = 0; group < std::min(g.groups, 16u); ++group) {
            seal_sector(g, group, 1, offsetof(disk::FreeSpace, checksum));
            seal_sector(g, group, 2, offsetof(disk::Inodes, checksum));
            seal_sector(g, group, 3, offsetof(disk::FreeList, checksum));
        }
    }

    void seal_trees(const xfs::Geometry& g) {
        const std::uint32_t group = g.groups - 1;
        for (std::uint32_t block = 1; block < std::min(g.blocks_in(group), 40u); ++block) {
            const std::uint64_t at = g.block_at(group, block);
            const Bytes bytes = read_at(volume_, at, g.block_bytes);
            const std::uint32_t magic = load<disk::TreeBlock>(bytes).magic;
            if (magic == disk::by_start_magic || magic == disk::by_count_magic)
                write_sealed(volume_, at, bytes, offsetof(disk::TreeBlock, checksum));
        }
    }

    // The last group's trees of one block say the same, and all counts follow.
    void match_counts(const xfs::Geometry& g) {
        const std::uint32_t group = g.groups - 1;
        const std::uint64_t at = g.sector_at(group, 1);
        Bytes sector = read_at(volume_, at, g.sector_bytes);
        auto header = load<disk::FreeSpace>(sector);
        const std::uint64_t from = g.block_at(group, header.by_start_root);
        const Bytes by_start = read_at(volume_, from, g.block_bytes);
        const std::size_t count =
            std::min<std::size_t>(load<disk::TreeBlock>(by_start).count, xfs::leaf_records(g));
        std::vector<xfs::FreeExtent> extents;
        std::uint32_t sum = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const auto raw = load<disk::Extent>(
                std::span(by_start).subspan(sizeof(disk::TreeBlock) + i * sizeof(disk::Extent)));
            extents.push_back({raw.start, raw.count});
            sum += raw.count;
        }
        std::ranges::sort(extents, [](const auto& a, const auto& b) {
            return xfs::is_before(xfs::FreeOrder::by_count, a, b);
        });
        header.free_blocks = sum;
        header.longest = extents.empty() ? 0 : extents.back().count;
        store(std::span(sector), header);
        write_sealed(volume_, at, sector, offsetof(disk::FreeSpace, checksum));
        const std::uint64_t to = g.block_at(group, header.by_count_root);
        Bytes by_count = read_at(volume_, to, g.block_bytes);
        for (std::size_t i = 0; i < count; ++i)
            store(std::span(by_count).subspan(sizeof(disk::TreeBlock) + i * sizeof(disk::Extent)),
                  disk::Extent{extents[i].start, extents[i].count});
        write_sealed(volume_, to, by_count, offsetof(disk::TreeBlock, checksum));
    }

    void match_sums(const xfs::Geometry& g) {
        auto raw = load<disk::Superblock>(read_at(volume_, 0, sizeof(disk::Superblock)));
        raw.free_blocks = raw.inodes = raw.free_inodes = std::uint64_t{0};
        for (std::uint32_t group = 0; group < std::min(g.groups, 16u); ++group) {
            const auto space = load<disk::FreeSpace>(read_at(volume_, g.sector_at(group, 1), 512));
            const auto inodes = load<disk::Inodes>(read_at(volume_, g.sector_at(group, 2), 512));
            raw.free_blocks =
                raw.free_blocks + std::uint64_t{space.free_blocks} + space.list_count + space.tree_blocks;
            raw.inodes = raw.inodes + inodes.count;
            raw.free_inodes = raw.free_inodes + inodes.free_count;
        }
        Bytes sector = read_at(volume_, 0, g.sector_bytes);
        store(std::span(sector), raw);
        write_sealed(volume_, 0, sector, offsetof(disk::Superblock, checksum));
    }

  private:
    void seal_sector(const xfs::Geometry& g, std::uint32_t group, std::uint32_t sector,
                     std::size_t checksum) {
        const std::uint64_t at = g.sector_at(group, sector);
        write_sealed(volume_, at, read_at(volume_, at, g.sector_bytes), checksum);
    }

    MemoryVolume& volume_;
};

void repair(MemoryVolume& volume, std::uint8_t what) {
    Repair repair(volume);
    if ((what & 1) != 0) repair.seal_superblock();
    const auto superblock = xfs::read_superblock(volume);
    if (!superblock) return;
    const xfs::Geometry& g = superblock->geometry;
    if ((what & 2) != 0) repair.seal_groups(g);
    if ((what & 4) != 0) repair.seal_trees(g);
    if ((what & 8) != 0) repair.match_counts(g);
    if ((what & 16) != 0) repair.match_sums(g);
}

void check_refusal(const Error& error, std::uint64_t written) {
    fuzz::check_reason(error);
    const bool is_late = error.kind == ErrorKind::no_space;
    if (written != 0 && !is_late) fuzz::does_not_hold("what is refused stays as it is");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span input(data, size);
    const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
    const fuzz::Tail tail = fuzz::tail_of(input);
    MemoryVolume volume = volume_of(std::as_bytes(input));
    repair(volume, tail[0]);
    volume.calls_until_failure = (tail[0] & 32) != 0 ? tail[1] : writes_max;
    const std::uint64_t before = volume.bytes_written;
    const auto growth = xfs::grow(volume, no_progress());
    if (!growth) {
        check_refusal(growth.error(), volume.bytes_written - before);
        return 0;
    }
    if (growth->new_bytes > volume.size() || growth->new_bytes < growth->old_bytes)
        fuzz::does_not_hold("it grows inside the volume");
    if (growth->new_bytes == growth->old_bytes) return 0;
    if (const auto verdict = xfs::verify(volume, *growth); !verdict)
        fuzz::does_not_hold(verdict.error().message);
    const std::uint64_t written = volume.bytes_written;
    const auto again = xfs::grow(volume, no_progress());
    if (!again || again->new_bytes != growth->new_bytes || volume.bytes_written != written)
        fuzz::does_not_hold("what has grown stays as it is");
    return 0;
}
