// Reads arbitrary bytes as a btrfs file system and grows it: it is refused with a reason, or it grows to what the
// verification accepts and then stays as it is; what is written is bounded.
//
// An input is a volume's size in KiB, stretches of bytes with their places, and a tail that tells whether checksums
// are made right first, and when writing fails.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <vector>

#include "base/bytes.hpp"
#include "guest/btrfs/chunks.hpp"
#include "guest/btrfs/grow.hpp"
#include "heap_limit.hpp"
#include "qimg/units.hpp"
#include "support/memory_volume.hpp"
#include "tail.hpp"
#include "volume_input.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::MemoryVolume;
namespace disk = btrfs::disk;

namespace {

constexpr std::uint64_t written_bytes_max = 3 * disk::superblock_bytes + 2 * 64 * KiB;

// A volume, and where stretches of the input begin in it.
struct Made {
    MemoryVolume volume;
    std::vector<std::uint64_t> starts;
};

Made volume_of(std::span<const std::byte> input) {
    Made made{MemoryVolume(fuzz::kib_of(input) * KiB), {}};
    made.starts = fuzz::write_stretches<le64>(made.volume, input);
    return made;
}

void seal(btrfs::ChecksumType type, std::span<std::byte> block) {
    const btrfs::Checksum sum = btrfs::checksum_of_block(type, block);
    store(block, sum);
}

void repair_superblocks(MemoryVolume& volume) {
    for (const std::uint64_t place : disk::superblocks_at) {
        std::array<std::byte, disk::superblock_bytes> block;
        if (!volume.read(place, block) || is_zero(block)) continue;
        if (const auto type = btrfs::checksum_type(load<disk::Superblock>(block).checksum_type)) {
            seal(*type, block);
            (void)volume.write(place, block).has_value();
        }
    }
}

// Checksums of what may be tree blocks, and second copies of those in system chunks.
void repair_blocks(MemoryVolume& volume, std::span<const std::uint64_t> starts) {
    const auto superblock = btrfs::read_superblock(volume);
    if (!superblock) return;
    const auto chunks = btrfs::read_system_chunks(*superblock);
    if (!chunks) return;
    Bytes block(superblock->raw.node_bytes);
    for (const std::uint64_t start : starts) {
        if (start % disk::superblock_bytes != 0 || btrfs::is_for_superblocks(start, block.size()) ||
            !volume.read(start, block))
            continue;
        seal(superblock->checksum_type, block);
        (void)volume.write(start, block).has_value();
        for (const btrfs::Chunk& chunk : *chunks) {
            const std::uint64_t first = chunk.copies.front(), second = chunk.copies.back();
            if (start >= first && start - first < chunk.length)
                (void)volume.write(start - first + second, block).has_value();
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span input(data, size);
    const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
    const fuzz::Tail tail = fuzz::tail_of(input);
    Made made = volume_of(std::as_bytes(input));
    MemoryVolume& volume = made.volume;
    if ((tail[0] & 1) != 0) repair_superblocks(volume);
    if ((tail[0] & 2) != 0) repair_blocks(volume, made.starts);
    if ((tail[0] & 4) != 0) volume.calls_until_failure = tail[1] % 8;
    volume.bytes_written = 0;
    const auto device = btrfs::read_device(volume);
    const auto growth = btrfs::grow(volume);
    if (!growth) {
        fuzz::check_reason(growth.error());
        return 0;
    }
    if (!device || !device->guest_only.empty())
        fuzz::does_not_hold("what is left to the guest does not grow");
    if (growth->new_bytes > volume.size() || growth->new_bytes < growth->old_bytes)
        fuzz::does_not_hold("it grows inside the volume");
    if (volume.bytes_written > written_bytes_max) fuzz::does_not_hold("little is written");
    if (growth->new_bytes == growth->old_bytes) return 0;
    if (const auto verdict = btrfs::verify(volume, *growth); !verdict)
        fuzz::does_not_hold(verdict.error().message);
    const std::uint64_t written = volume.bytes_written;
    const auto again = btrfs::grow(volume);
    if (!again || again->new_bytes != growth->new_bytes || volume.bytes_written != written)
        fuzz::does_not_hold("what has grown stays as it is");
    return 0;
}
