// Growing small file systems in memory.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/grow.hpp"

#include <doctest/doctest.h>

#include "guest/btrfs/superblock.hpp"
#include "support/btrfs_sample.hpp"
#include "support/memory_volume.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::BtrfsSample;
using test::MemoryVolume;

namespace {

MemoryVolume made(const BtrfsSample& sample, std::uint64_t size) {
    MemoryVolume volume(size);
    sample.write_to(volume);
    return volume;
}

void check_growth(MemoryVolume& volume, std::uint64_t old_bytes, std::uint64_t new_bytes) {
    const auto growth = btrfs::grow(volume);
    if (!growth) FAIL(growth.error().message);
    CHECK(growth->old_bytes == old_bytes);
    CHECK(growth->new_bytes == new_bytes);
    const auto verdict = btrfs::verify(volume, *growth);
    if (!verdict) FAIL(verdict.error().message);
}

btrfs::disk::Superblock superblock_at(const MemoryVolume& volume, std::uint64_t place) {
    Bytes block(btrfs::disk::superblock_bytes);
    REQUIRE(volume.read(place, block));
    return load<btrfs::disk::Superblock>(block);
}

}  // namespace

TEST_CASE("a file system grows to the end of its volume") {
    for (std::uint16_t checksum = 0; checksum < 3; ++checksum) {
        for (const std::uint32_t node_bytes : {4096u, 16384u, 65536u}) {
            for (const unsigned levels : {1u, 2u}) {
                for (const bool has_copy : {false, true}) {
                    CAPTURE(checksum);
                    CAPTURE(node_bytes);
                    CAPTURE(levels);
                    CAPTURE(has_copy);
                    BtrfsSample sample;
                    sample.checksum = checksum;
                    sample.node_bytes = node_bytes;
                    sample.levels = levels;
                    sample.has_copy = has_copy;
                    MemoryVolume volume = made(sample, 60 * MiB);
                    check_growth(volume, 50 * MiB, 60 * MiB);
                    volume.resize(300 * GiB);
                    check_growth(volume, 60 * MiB, 300 * GiB);
                }
            }
        }
    }
}

TEST_CASE("the length is that of whole sectors") {
    MemoryVolume volume = made({}, 51 * MiB + 4095);
    check_growth(volume, 50 * MiB, 51 * MiB);
    const auto found = superblock_at(volume, btrfs::disk::superblocks_at[0]);
    CHECK(found.total_bytes == 51 * MiB);
    CHECK(found.device.total_bytes == 51 * MiB);
}

TEST_CASE("nothing is written when there is nothing to grow") {
    MemoryVolume volume = made({}, 50 * MiB + 4095);
    volume.bytes_written = 0;
    const auto growth = btrfs::grow(volume);
    REQUIRE(growth);
    CHECK(growth->new_bytes == growth->old_bytes);
    CHECK(volume.bytes_written == 0);
}

TEST_CASE("superblocks are written where the device reaches beyond them") {
    constexpr std::uint64_t second = btrfs::disk::superblocks_at[1], third = btrfs::disk::superblocks_at[2];
    MemoryVolume volume = made({}, second + 4096);
    check_growth(volume, 50 * MiB, second + 4096);
    CHECK(superblock_at(volume, second).generation == 0);
    volume.resize(second + 8192);
    check_growth(volume, second + 4096, second + 8192);
    CHECK(superblock_at(volume, second).place == second);
    CHECK(superblock_at(volume, second).generation == BtrfsSample::generation + 2);
    volume.resize(third + 4096);
    check_growth(volume, second + 8192, third + 4096);
    CHECK(superblock_at(volume, third).generation == 0);
    volume.resize(third + 8192);
    check_growth(volume, third + 4096, third + 8192);
    CHECK(superblock_at(volume, third).place == third);
}

TEST_CASE("a backup of the same chunk tree has the new length, an older one its own") {
    MemoryVolume volume = made({}, 60 * MiB);
    check_growth(volume, 50 * MiB, 60 * MiB);
    const auto found = superblock_at(volume, btrfs::disk::superblocks_at[0]);
    CHECK(found.backups[0].total_bytes == 60 * MiB);
    CHECK(found.backups[1].total_bytes == 50 * MiB);
}

TEST_CASE("superblock and device that were rounded differently are equal afterwards") {
    BtrfsSample sample;
    MemoryVolume volume(60 * MiB);
    sample.write_to(volume);
    auto raw = sample.superblock();
    raw.total_bytes = sample.bytes - 512;
    sample.put_superblocks(volume, raw);
    check_growth(volume, 50 * MiB, 60 * MiB);
}

TEST_CASE("copies of the superblock may be older, as a crash leaves them") {
    BtrfsSample sample;
    sample.bytes = 100 * MiB;
    MemoryVolume volume = made(sample, 200 * MiB);
    auto raw = sample.superblock();
    raw.generation = raw.generation - 1;
    sample.put_superblock(volume, btrfs::disk::superblocks_at[1], raw);
    check_growth(volume, 100 * MiB, 200 * MiB);
}

TEST_CASE("tree blocks carry the metadata's uuid where there is one") {
    BtrfsSample sample;
    MemoryVolume volume = made(sample, 60 * MiB);
    auto raw = sample.superblock();
    raw.incompat_flags = raw.incompat_flags | btrfs::disk::has_metadata_uuid;
    raw.metadata_uuid = raw.fsid;
    raw.fsid.fill(std::byte{9});
    sample.put_superblocks(volume, raw);
    check_growth(volume, 50 * MiB, 60 * MiB);
}

TEST_CASE("an error of the volume comes through, whichever call it is") {
    BtrfsSample sample;
    sample.bytes = 100 * MiB;
    int calls = 0;
    for (;; ++calls) {
        REQUIRE(calls < 100);
        MemoryVolume volume = made(sample, 200 * MiB);
        volume.calls_until_failure = calls;
        const auto growth = btrfs::grow(volume);
        if (growth) break;
        CHECK(growth.error().kind == ErrorKind::no_space);
    }
    CHECK(calls == 4);
}

TEST_CASE("a device that may grow here is told without a reason") {
    const MemoryVolume volume = made({}, 60 * MiB);
    const auto device = btrfs::read_device(volume);
    REQUIRE(device);
    CHECK(device->number == 1);
    CHECK(device->guest_only.empty());
}

TEST_CASE("a device of several is told as its superblock has it") {
    BtrfsSample sample;
    MemoryVolume volume = made(sample, 60 * MiB);
    auto raw = sample.superblock();
    raw.devices = 2;
    raw.device.id = 7;
    sample.put_superblocks(volume, raw);
    const auto device = btrfs::read_device(volume);
    REQUIRE(device);
    CHECK(device->number == 7);
    CHECK(device->bytes == 50 * MiB);
    CHECK(device->guest_only == "the file system is on 2 devices");
    const auto growth = btrfs::grow(volume);
    REQUIRE_FALSE(growth);
    CHECK(growth.error().kind == ErrorKind::unsupported);
    CHECK_FALSE(btrfs::read_device(MemoryVolume(60 * MiB)));
    CHECK_FALSE(btrfs::read_device(MemoryVolume(64 * KiB)));
}

TEST_CASE("no byte that was written may differ") {
    BtrfsSample sample;
    sample.levels = 2;
    MemoryVolume volume = made(sample, 100 * MiB);
    const auto growth = btrfs::grow(volume);
    REQUIRE(growth);
    const std::uint64_t leaf = sample.first_leaf(), copy = leaf - sample.system_chunk + sample.system_copy;
    for (const std::uint64_t start : {btrfs::disk::superblocks_at[0], btrfs::disk::superblocks_at[1],
                                      sample.system_chunk, sample.system_copy, leaf, copy}) {
        for (std::uint64_t at = start; at < start + 4096; at += 5) {
            std::byte byte{};
            REQUIRE(volume.read(at, std::span(&byte, 1)));
            std::byte other = byte ^ std::byte{0x10};
            REQUIRE(volume.write(at, std::span(&other, 1)));
            CAPTURE(at);
            CHECK_FALSE(btrfs::verify(volume, *growth));
            REQUIRE(volume.write(at, std::span(&byte, 1)));
        }
    }
    CHECK(btrfs::verify(volume, *growth));
    CHECK_FALSE(btrfs::verify(volume, {growth->old_bytes, growth->new_bytes - 4096}));
}
