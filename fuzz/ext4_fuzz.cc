// Reads arbitrary bytes as an ext4 file system and grows it: it is refused with a reason, or it grows to what the
// verification accepts and then stays as it is; what is written is bounded by the volume.
//
// An input is a volume's size in KiB, stretches of bytes with their places, and a tail that tells whether checksums
// are made right first, and when writing fails.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "base/endian.hpp"
#include "base/try.hpp"
#include "guest/ext4/checksum.hpp"
#include "guest/ext4/geometry.hpp"
#include "guest/ext4/grow.hpp"
#include "guest/ext4/verify.hpp"
#include "heap_limit.hpp"
#include "qimg/units.hpp"
#include "tail.hpp"
#include "volume_input.hpp"

using namespace qimg;
using namespace qimg::guest;

namespace {

// Keeps what is not zero. Writing fails when there is too much of it.
class SparseVolume : public Volume {
  public:
    explicit SparseVolume(std::uint64_t size) : size_(size) {}
    std::uint64_t size() const override { return size_; }

    Result<void> read(std::uint64_t at, std::span<std::byte> into) const override {
        TRY(check(at, into.size()));
        for_chunks(at, into.size(),
                   [&](std::uint64_t chunk, std::size_t offset, std::size_t from, std::size_t count) {
                       const auto found = chunks_.find(chunk);
                       const auto part = into.subspan(from, count);
                       if (found == chunks_.end())
                           std::ranges::fill(part, std::byte{0});
                       else
                           std::ranges::copy(std::span(found->second).subspan(offset, count), part.begin());
                   });
        return {};
    }

    Result<void> write(std::uint64_t at, std::span<const std::byte> from) override {
        TRY(check(at, from.size()));
        written_ += from.size();
        if (written_ > writable) return fail(ErrorKind::no_space, "full");
        for_chunks(at, from.size(),
                   [&](std::uint64_t chunk, std::size_t offset, std::size_t start, std::size_t count) {
                       std::ranges::copy(from.subspan(start, count),
                                         chunks_[chunk].begin() + static_cast<std::ptrdiff_t>(offset));
                   });
        return {};
    }

    Result<void> write_zeroes(std::uint64_t at, std::uint64_t bytes) override {
        TRY(check(at, bytes));
        for (auto chunk = chunks_.lower_bound(at / chunk_bytes);
             chunk != chunks_.end() && chunk->first * chunk_bytes < at + bytes; ++chunk) {
            const std::uint64_t start = chunk->first * chunk_bytes;
            for (std::uint64_t i = std::max(at, start); i < std::min(at + bytes, start + chunk_bytes); ++i)
                chunk->second[i - start] = std::byte{0};
        }
        return {};
    }

    std::uint64_t writable = 20 << 20;
    std::uint64_t written() const { return written_; }

  private:
    static constexpr std::size_t chunk_bytes = 1024;

    template <class Each>
    static void for_chunks(std::uint64_t at, std::size_t bytes, const Each& each) {
        for (std::size_t done = 0; done < bytes;) {
            const std::size_t offset = (at + done) % chunk_bytes;
            const std::size_t count = std::min(bytes - done, chunk_bytes - offset);
            each((at + done) / chunk_bytes, offset, done, count);
            done += count;
        }
    }
    Result<void> check(std::uint64_t at, std::uint64_t bytes) const {
        if (at > size_ || bytes > size_ - at) return fail(ErrorKind::invalid_argument, "outside the volume");
        return {};
    }

    std::uint64_t size_;
    std::uint64_t written_ = 0;
    std::map<std::uint64_t, std::array<std::byte, chunk_bytes>> chunks_;
};

SparseVolume volume_of(std::span<const std::byte> input) {
    constexpr std::uint64_t kib_max = 1 << 20;
    SparseVolume volume(fuzz::kib_of(input) % kib_max * KiB);
    (void)fuzz::write_stretches<le32>(volume, input);
    return volume;
}

void repair_superblock(SparseVolume& volume) {
    std::array<std::byte, sizeof(ext4::disk::Superblock)> bytes;
    if (!volume.read(ext4::disk::superblock_at, bytes)) return;
    constexpr std::size_t at = offsetof(ext4::disk::Superblock, checksum);
    store(std::span(bytes).subspan(at), le32(ext4::crc32c(~0u, std::span(bytes).first(at))));
    (void)volume.write(ext4::disk::superblock_at, bytes).has_value();
}

// Those of the first descriptor block, under metadata_csum.
void repair_descriptors(SparseVolume& volume) {
    const auto superblock = ext4::read_superblock(volume);
    if (!superblock || !superblock->geometry.has(ext4::disk::metadata_csum)) return;
    const ext4::Geometry& g = superblock->geometry;
    std::vector<std::byte> bytes(g.descriptor_bytes);
    for (std::uint32_t group = 0; group < std::min(g.groups, g.descriptors_per_block()); ++group) {
        const std::uint64_t place =
            g.descriptor_block(0) * g.block_bytes + std::uint64_t{group} * bytes.size();
        if (!volume.read(place, bytes)) return;
        constexpr std::size_t at = offsetof(ext4::disk::GroupDescriptor, checksum);
        store(std::span(bytes).subspan(at), le16(0));
        std::array<std::byte, 4> number;
        store(number, le32(group));
        const std::uint32_t sum = ext4::crc32c(ext4::crc32c(g.checksum_seed, number), bytes);
        store(std::span(bytes).subspan(at), le16(static_cast<std::uint16_t>(sum)));
        (void)volume.write(place, bytes).has_value();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span input(data, size);
    const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
    const fuzz::Tail tail = fuzz::tail_of(input);
    SparseVolume volume = volume_of(std::as_bytes(input));
    if ((tail[0] & 1) != 0) repair_superblock(volume);
    if ((tail[0] & 2) != 0) repair_descriptors(volume);
    if ((tail[0] & 4) != 0) volume.writable = volume.written() + std::uint64_t{tail[1]} * 1024;
    const auto growth = ext4::grow(volume, no_progress());
    if (!growth) {
        fuzz::check_reason(growth.error());
        return 0;
    }
    if (growth->new_bytes > volume.size() || growth->new_bytes < growth->old_bytes)
        fuzz::does_not_hold("it grows inside the volume");
    if (growth->new_bytes == growth->old_bytes) return 0;
    if (const auto verdict = ext4::verify(volume, *growth); !verdict)
        fuzz::does_not_hold(verdict.error().message);
    const std::uint64_t written = volume.written();
    const auto again = ext4::grow(volume, no_progress());
    if (!again || again->new_bytes != growth->new_bytes || volume.written() != written)
        fuzz::does_not_hold("what has grown stays as it is");
    return 0;
}
