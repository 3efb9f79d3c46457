// Reads arbitrary bytes as a btrfs file system and grows it: it is refused with a reason, or it grows to what the
// verification accepts and then stays as it is; what is written is bounded.
//
// An input is a volume's size in KiB, stretches of bytes with their places, and a tail that tells whether checksums
// are made right first, and when writing fails.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/bytes.hpp"
#include "guest/btrfs/chunks.hpp"
#include "guest/btrfs/grow.hpp"
#include "heap_limit.hpp"
#include "qimg/printable.hpp"
#include "qimg/units.hpp"
#include "support/memory_volume.hpp"
#include "tail.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::MemoryVolume;
namespace disk = btrfs::disk;

namespace {

constexpr std::uint64_t written_bytes_max = 3 * disk::superblock_bytes + 2 * 64 * KiB;

[[noreturn]] void does_not_hold(std::string_view what) {
    fmt::print(stderr, "does not hold: {}\n", what);
    std::abort();
}

MemoryVolume volume_of(std::span<const std::byte> input) {
    MemoryVolume volume(input.size() < 4 ? 0 : std::uint64_t{load<le32>(input)} * KiB);
    struct Stretch {
        le64 at;
        le16 length;
    };
    for (std::size_t place = 4; place + sizeof(Stretch) < input.size();) {
        const auto stretch = load<Stretch>(input.subspan(place));
        place += sizeof(Stretch);
        const std::size_t length = std::min<std::size_t>(stretch.length, input.size() - place);
        // one that lies outside is none
        (void)volume.write(stretch.at, input.subspan(place, length)).has_value();
        place += length;
    }
    return volume;
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

// A tree block, and those that it leads to: checksums, and all copies as the first one is.
class TreeRepair {
  public:
    TreeRepair(MemoryVolume& volume, const btrfs::Superblock& superblock, std::vector<btrfs::Chunk> chunks)
        : volume_(volume), superblock_(superblock), chunks_(std::move(chunks)) {}

    void repair(std::uint64_t logical, unsigned level) {
        const auto chunk = std::ranges::find_if(
            chunks_, [&](const btrfs::Chunk& one) { return one.contains(logical, node_bytes()); });
        if (chunk == chunks_.end() || --blocks_left_ == 0) return;
        Bytes block(node_bytes());
        if (!volume_.read(chunk->copies.front() + logical - chunk->logical, block)) return;
        seal(superblock_.checksum_type, block);
        for (const std::uint64_t copy : chunk->copies)
            (void)volume_.write(copy + logical - chunk->logical, block).has_value();
        const std::uint32_t count = load<disk::BlockHeader>(block).items;
        for (std::uint32_t i = 0; level > 0 && i < std::min(count, 40u); ++i) {
            const std::size_t at = sizeof(disk::BlockHeader) + i * sizeof(disk::BlockPointer);
            repair(load<disk::BlockPointer>(std::span(block).subspan(at)).logical, level - 1);
            if (blocks_left_ == 0) return;
        }
    }

  private:
    std::uint32_t node_bytes() const { return superblock_.raw.node_bytes; }

    MemoryVolume& volume_;
    const btrfs::Superblock& superblock_;
    std::vector<btrfs::Chunk> chunks_;
    unsigned blocks_left_ = 100;
};

void repair_tree(MemoryVolume& volume) {
    const auto superblock = btrfs::read_superblock(volume);
    if (!superblock) return;
    auto chunks = btrfs::read_system_chunks(*superblock);
    if (!chunks) return;
    TreeRepair(volume, *superblock, std::move(*chunks))
        .repair(superblock->raw.chunk_root, superblock->raw.chunk_root_level);
}

void check_refusal(const Error& error) {
    if (error.message.empty() || printable(error.message) != error.message)
        does_not_hold("a refusal has a reason");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span input(data, size);
    const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
    const fuzz::Tail tail = fuzz::tail_of(input);
    MemoryVolume volume = volume_of(std::as_bytes(input));
    if ((tail[0] & 1) != 0) repair_superblocks(volume);
    if ((tail[0] & 2) != 0) repair_tree(volume);
    if ((tail[0] & 4) != 0) volume.calls_until_failure = tail[1] % 8;
    volume.bytes_written = 0;
    const auto device = btrfs::read_device(volume);
    const auto growth = btrfs::grow(volume);
    if (!growth) {
        check_refusal(growth.error());
        return 0;
    }
    if (!device || !device->guest_only.empty()) does_not_hold("what is left to the guest does not grow");
    if (growth->new_bytes > volume.size() || growth->new_bytes < growth->old_bytes)
        does_not_hold("it grows inside the volume");
    if (volume.bytes_written > written_bytes_max) does_not_hold("little is written");
    if (growth->new_bytes == growth->old_bytes) return 0;
    if (const auto verdict = btrfs::verify(volume, *growth); !verdict) does_not_hold(verdict.error().message);
    const std::uint64_t written = volume.bytes_written;
    const auto again = btrfs::grow(volume);
    if (!again || again->new_bytes != growth->new_bytes || volume.bytes_written != written)
        does_not_hold("what has grown stays as it is");
    return 0;
}
