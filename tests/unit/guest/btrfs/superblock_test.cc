// Which superblocks are believed, each rule by itself.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/superblock.hpp"

#include <doctest/doctest.h>

#include "guest/btrfs/grow.hpp"
#include "support/btrfs_sample.hpp"
#include "support/memory_volume.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::BtrfsSample;
using test::MemoryVolume;
namespace disk = btrfs::disk;

namespace {

// Refused for the reason given, and left as it was.
void check_refusal(MemoryVolume& volume, ErrorKind kind, std::string_view reason) {
    volume.bytes_written = 0;
    const auto growth = btrfs::grow(volume);
    REQUIRE_FALSE(growth);
    INFO(growth.error().message);
    CHECK(growth.error().kind == kind);
    CHECK(growth.error().message.find(reason) != std::string::npos);
    CHECK(volume.bytes_written == 0);
}

struct Rule {
    void (*damage)(disk::Superblock& raw);
    ErrorKind kind;
    std::string_view reason;
};

}  // namespace

TEST_CASE("a superblock that breaks a rule is refused") {
    const Rule rules[] = {
        {[](disk::Superblock& raw) { raw.magic[0] = 'x'; }, ErrorKind::corrupt, "no btrfs"},
        {[](disk::Superblock& raw) { raw.flags = 0x5; }, ErrorKind::corrupt, "having errors"},
        {[](disk::Superblock& raw) { raw.flags = 1 | disk::seeding; }, ErrorKind::unsupported, "seed"},
        {[](disk::Superblock& raw) { raw.flags = 1 | disk::metadump; }, ErrorKind::unsupported, "dump"},
        {[](disk::Superblock& raw) { raw.flags = 1 | disk::metadump_v2; }, ErrorKind::unsupported, "dump"},
        {[](disk::Superblock& raw) { raw.flags = 3; }, ErrorKind::unsupported, "in a way that is not known"},
        {[](disk::Superblock& raw) { raw.flags = 1 | 1ull << 38; }, ErrorKind::unsupported, "converted"},
        {[](disk::Superblock& raw) { raw.log_root = MiB; }, ErrorKind::in_use, "log was not replayed"},
        {[](disk::Superblock& raw) { raw.devices = 2; }, ErrorKind::unsupported, "on 2 devices"},
        {[](disk::Superblock& raw) { raw.devices = 0; }, ErrorKind::unsupported, "on 0 devices"},
        {[](disk::Superblock& raw) { raw.incompat_flags = 0x1000; }, ErrorKind::unsupported,
         "features that are not known"},
        {[](disk::Superblock& raw) { raw.incompat_flags = 1ull << 63; }, ErrorKind::unsupported,
         "features that are not known"},
        {[](disk::Superblock& raw) { raw.compat_ro_flags = 0x10; }, ErrorKind::unsupported,
         "features that are not known"},
        {[](disk::Superblock& raw) { raw.sector_bytes = 0; }, ErrorKind::corrupt, "sector size"},
        {[](disk::Superblock& raw) { raw.sector_bytes = 512; }, ErrorKind::corrupt, "sector size"},
        {[](disk::Superblock& raw) { raw.sector_bytes = 4097; }, ErrorKind::corrupt, "sector size"},
        {[](disk::Superblock& raw) { raw.sector_bytes = 8192; }, ErrorKind::corrupt, "node size"},
        {[](disk::Superblock& raw) { raw.node_bytes = 0; }, ErrorKind::corrupt, "node size"},
        {[](disk::Superblock& raw) { raw.node_bytes = raw.leaf_bytes = 131072; }, ErrorKind::corrupt,
         "node size"},
        {[](disk::Superblock& raw) { raw.leaf_bytes = 8192; }, ErrorKind::corrupt, "node size"},
        {[](disk::Superblock& raw) { raw.total_bytes = 49 * MiB; }, ErrorKind::corrupt, "fix-device-size"},
        {[](disk::Superblock& raw) { raw.total_bytes = 51 * MiB; }, ErrorKind::corrupt, "fix-device-size"},
        {[](disk::Superblock& raw) { raw.total_bytes = raw.device.total_bytes = 61 * MiB; },
         ErrorKind::corrupt, "longer than there is room"},
        {[](disk::Superblock& raw) { raw.total_bytes = raw.device.total_bytes = 64 * KiB; },
         ErrorKind::corrupt, "its length"},
        {[](disk::Superblock& raw) { raw.device.bytes_used = 51 * MiB; }, ErrorKind::corrupt, "use"},
        {[](disk::Superblock& raw) { raw.device.fsid[0] = std::byte{1}; }, ErrorKind::corrupt, "device"},
        {[](disk::Superblock& raw) { raw.chunk_root_level = 8; }, ErrorKind::corrupt, "roots"},
        {[](disk::Superblock& raw) { raw.root_level = 8; }, ErrorKind::corrupt, "roots"},
        {[](disk::Superblock& raw) { raw.chunk_root = MiB + 512; }, ErrorKind::corrupt, "roots"},
        {[](disk::Superblock& raw) { raw.chunk_root_generation = 99; }, ErrorKind::corrupt, "roots"},
        {[](disk::Superblock& raw) { raw.system_chunks_bytes = 2049; }, ErrorKind::corrupt, "system chunks"},
        {[](disk::Superblock& raw) { raw.system_chunks_bytes = raw.system_chunks_bytes - 1; },
         ErrorKind::corrupt, "system chunks"},
        {[](disk::Superblock& raw) { raw.system_chunks_bytes = raw.system_chunks_bytes + 1; },
         ErrorKind::corrupt, "system chunks"},
        {[](disk::Superblock& raw) { raw.system_chunks_bytes = 0; }, ErrorKind::corrupt,
         "in no system chunk"},
        {[](disk::Superblock& raw) { raw.system_chunks[8] = std::byte{1}; }, ErrorKind::corrupt,
         "system chunks"},
    };
    for (const Rule& rule : rules) {
        CAPTURE(rule.reason);
        const BtrfsSample sample;
        MemoryVolume volume(60 * MiB);
        sample.write_to(volume);
        auto raw = sample.superblock();
        rule.damage(raw);
        sample.put_superblock(volume, disk::superblocks_at[0], raw);
        check_refusal(volume, rule.kind, rule.reason);
    }
}

TEST_CASE("a checksum that is wrong, or of a sort that is not computed, is refused") {
    const BtrfsSample sample;
    MemoryVolume volume(60 * MiB);
    sample.write_to(volume);
    const std::byte one{1};
    REQUIRE(volume.write(disk::superblocks_at[0] + 4000, std::span(&one, 1)));
    check_refusal(volume, ErrorKind::corrupt, "checksum");
    auto raw = sample.superblock();
    raw.checksum_type = 3;
    sample.put_superblock(volume, disk::superblocks_at[0], raw);
    check_refusal(volume, ErrorKind::unsupported, "type 3");
}

TEST_CASE("a superblock from another place is refused") {
    const BtrfsSample sample;
    MemoryVolume volume(60 * MiB);
    sample.write_to(volume);
    auto raw = sample.superblock();
    raw.place = disk::superblocks_at[1];
    Bytes block = BtrfsSample::bytes_of_object(raw);
    sample.seal(block);
    REQUIRE(volume.write(disk::superblocks_at[0], block));
    check_refusal(volume, ErrorKind::corrupt, "checksum");
}

TEST_CASE("a copy of the superblock that is newer, damaged, lost, or of another file system is refused") {
    BtrfsSample sample;
    sample.bytes = 100 * MiB;
    constexpr std::uint64_t second = disk::superblocks_at[1];
    MemoryVolume volume(200 * MiB);
    sample.write_to(volume);
    auto newer = sample.superblock(), foreign = sample.superblock();
    newer.generation = newer.generation + 1;
    sample.put_superblock(volume, second, newer);
    check_refusal(volume, ErrorKind::corrupt, "newer");
    foreign.fsid[0] = std::byte{1};
    sample.put_superblock(volume, second, foreign);
    check_refusal(volume, ErrorKind::corrupt, "is damaged");
    REQUIRE(volume.write_zeroes(second, disk::superblock_bytes));
    check_refusal(volume, ErrorKind::corrupt, "is damaged");
    sample.put_superblocks(volume, sample.superblock());
    CHECK(btrfs::grow(volume));
}

TEST_CASE("a length is that of the volume at most, and room for superblocks is asked for at their places") {
    CHECK(btrfs::is_for_superblocks(0x10fff, 1));
    CHECK_FALSE(btrfs::is_for_superblocks(0x11000, 4096));
    CHECK_FALSE(btrfs::is_for_superblocks(0xf000, 4096));
    CHECK(btrfs::is_for_superblocks(0x3ff'f000, 4097));
    CHECK(btrfs::is_for_superblocks(0x40'0000'0000, 4096));
}
