// Growing small file systems in memory.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/grow.hpp"

#include <doctest/doctest.h>

#include "base/bytes.hpp"
#include "guest/ext4/geometry.hpp"
#include "guest/ext4/verify.hpp"
#include "support/ext4_sample.hpp"
#include "support/memory_volume.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::Ext4Sample;
using test::MemoryVolume;

namespace {

constexpr std::uint64_t mib = 1 << 20;

MemoryVolume made(const Ext4Sample& sample, std::uint64_t size) {
    MemoryVolume volume(size);
    sample.write_to(volume);
    return volume;
}

void check_growth(MemoryVolume& volume, std::uint64_t old_bytes, std::uint64_t new_bytes) {
    const auto growth = ext4::grow(volume, no_progress());
    if (!growth) FAIL(growth.error().message);
    CHECK(growth->old_bytes == old_bytes);
    CHECK(growth->new_bytes == new_bytes);
    const auto verdict = ext4::verify(volume, *growth);
    if (!verdict) FAIL(verdict.error().message);
}

class Stopping : public Progress {
  public:
    void update(std::uint64_t, std::uint64_t) override {}
    bool cancelled() const override { return true; }
};

}  // namespace

TEST_CASE("a file system grows to the end of its volume") {
    for (const std::uint32_t ro_compat : {0x401u, 0x1u}) {
        for (const std::uint32_t incompat : {0x2c2u, 0x42u, 0xc2u, 0x242u}) {
            for (const std::uint32_t reserved : {0u, 4u}) {
                CAPTURE(ro_compat);
                CAPTURE(incompat);
                CAPTURE(reserved);
                Ext4Sample sample;
                sample.ro_compat = ro_compat;
                sample.incompat = incompat;
                sample.reserved_descriptor_blocks = reserved;
                MemoryVolume volume = made(sample, 3 * mib);
                check_growth(volume, 2500 * 1024, 3 * mib);
                volume.resize(40 * mib);
                check_growth(volume, 3 * mib, 40 * mib);
                volume.resize(1000 * mib);
                check_growth(volume, 40 * mib, 1000 * mib);
            }
        }
    }
}

TEST_CASE("counts follow") {
    MemoryVolume volume = made({}, 10 * mib);
    check_growth(volume, 2500 * 1024, 10 * mib);
    const auto found = ext4::read_superblock(volume);
    REQUIRE(found);
    CHECK(found->raw.blocks_count_lo == 10240);
    CHECK(found->raw.inodes_count == 160);
    CHECK(found->raw.free_inodes_count == 150);
    // 125 of 2500 blocks
    CHECK(found->raw.r_blocks_count_lo == 512);
    // seven new groups: bitmaps and tables, and copies in groups 3, 5, 7 and 9
    CHECK(found->raw.overhead_clusters == 77 + 7 * 4 + 4 * 6);
    CHECK(found->raw.state == ext4::disk::state_clean);
}

TEST_CASE("nothing is written when there is nothing to grow") {
    MemoryVolume volume = made({}, 2500 * 1024);
    volume.bytes_written = 0;
    const auto growth = ext4::grow(volume, no_progress());
    REQUIRE(growth);
    CHECK(growth->new_bytes == growth->old_bytes);
    CHECK(volume.bytes_written == 0);
}

TEST_CASE("the same file system grows to the same bytes") {
    MemoryVolume first = made({}, 30 * mib), second = made({}, 30 * mib);
    check_growth(first, 2500 * 1024, 30 * mib);
    check_growth(second, 2500 * 1024, 30 * mib);
    Bytes ours(30 * mib), theirs(30 * mib);
    REQUIRE(first.read(0, ours));
    REQUIRE(second.read(0, theirs));
    CHECK(ours == theirs);
}

TEST_CASE("inode tables are zeroed where something else was before") {
    MemoryVolume volume(10 * mib);
    const Bytes old(10 * mib, std::byte{0xee});
    REQUIRE(volume.write(0, old));
    Ext4Sample{}.write_to(volume);
    check_growth(volume, 2500 * 1024, 10 * mib);
    const auto raw = Ext4Sample::descriptor_at(volume, 2 * 1024 + 5 * 64);
    CHECK((raw.flags & ext4::disk::inode_zeroed) != 0);
    Bytes table(Ext4Sample::table_blocks * 1024);
    REQUIRE(volume.read(std::uint64_t{raw.inode_table_lo} * 1024, table));
    CHECK(is_zero(table));
}

TEST_CASE("when reserved descriptors run out, the resize inode is given back") {
    Ext4Sample sample;
    sample.reserved_descriptor_blocks = 1;
    MemoryVolume volume = made(sample, 64 * mib);
    const auto growth = ext4::grow(volume, no_progress());
    REQUIRE(growth);
    CHECK(growth->released_in == 0u);
    CHECK(ext4::verify(volume, *growth));
    const auto found = ext4::read_superblock(volume);
    REQUIRE(found);
    CHECK(found->geometry.has(ext4::disk::meta_bg));
    CHECK_FALSE(found->geometry.has(ext4::disk::has_resize_inode));
    CHECK(found->geometry.first_meta_block == 2);
}

TEST_CASE("an error of the volume comes through, whichever call it is") {
    int calls = 0;
    for (;; ++calls) {
        REQUIRE(calls < 1000);
        MemoryVolume volume = made({}, 20 * mib);
        volume.calls_until_failure = calls;
        const auto growth = ext4::grow(volume, no_progress());
        if (growth) break;
        CHECK(growth.error().kind == ErrorKind::no_space);
    }
    CHECK(calls > 20);
}

TEST_CASE("growth stops when it shall") {
    MemoryVolume volume = made({}, 20 * mib);
    Stopping stopping;
    const auto growth = ext4::grow(volume, stopping);
    REQUIRE_FALSE(growth);
    CHECK(growth.error().kind == ErrorKind::cancelled);
}

TEST_CASE("a damaged file system is refused before anything is written") {
    using Damage = void (*)(MemoryVolume&, ext4::disk::GroupDescriptor);
    const Damage damages[] = {
        [](MemoryVolume& volume, ext4::disk::GroupDescriptor raw) {
            raw.inode_table_lo = raw.block_bitmap_lo;
            Ext4Sample{}.write_descriptor(volume, 1, raw);
        },
        [](MemoryVolume& volume, ext4::disk::GroupDescriptor raw) {
            const std::byte free{0};
            REQUIRE(volume.write(raw.block_bitmap_lo * 1024ull, std::span(&free, 1)));
        },
        [](MemoryVolume& volume, ext4::disk::GroupDescriptor raw) {
            const std::byte used{1};
            REQUIRE(volume.write(raw.inode_bitmap_lo * 1024ull, std::span(&used, 1)));
        },
    };
    for (const Damage damage : damages) {
        MemoryVolume volume = made({}, 20 * mib);
        damage(volume, Ext4Sample::descriptor_at(volume, 2 * 1024 + 64));
        volume.bytes_written = 0;
        const auto growth = ext4::grow(volume, no_progress());
        REQUIRE_FALSE(growth);
        CHECK(growth.error().kind == ErrorKind::corrupt);
        CHECK(volume.bytes_written == 0);
    }
}

TEST_CASE("what libext2fs finds is told in its words") {
    MemoryVolume volume = made({}, 20 * mib);
    const auto table = Ext4Sample::descriptor_at(volume, 2 * 1024).inode_table_lo;
    const std::byte owner{9};
    constexpr std::uint64_t owner_at = 2;
    const std::uint64_t inode_at = table * 1024ull + (ext4::disk::resize_inode - 1) * Ext4Sample::inode_bytes;
    REQUIRE(volume.write(inode_at + owner_at, std::span(&owner, 1)));
    const auto growth = ext4::grow(volume, no_progress());
    REQUIRE_FALSE(growth);
    CHECK(growth.error().kind == ErrorKind::corrupt);
    INFO(growth.error().message);
    CHECK(growth.error().message.find("Inode checksum does not match") != std::string::npos);
}
