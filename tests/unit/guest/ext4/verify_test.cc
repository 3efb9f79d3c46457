// Damage of every sort is noticed after growing.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/verify.hpp"

#include <doctest/doctest.h>

#include "guest/ext4/bits.hpp"
#include "guest/ext4/geometry.hpp"
#include "support/ext4_sample.hpp"
#include "support/memory_volume.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::Ext4Sample;
using test::MemoryVolume;

namespace {

// Grown from 3 to 10 groups.
struct Grown {
    MemoryVolume volume{10 << 20};
    ext4::Growth growth;

    Grown() {
        Ext4Sample{}.write_to(volume);
        auto result = ext4::grow(volume, no_progress());
        REQUIRE(result);
        growth = *result;
    }
    void flip(std::uint64_t at) {
        std::byte byte{};
        REQUIRE(volume.read(at, std::span(&byte, 1)));
        byte ^= std::byte{0x10};
        REQUIRE(volume.write(at, std::span(&byte, 1)));
    }
    ext4::disk::GroupDescriptor descriptor(std::uint32_t group) const {
        return Ext4Sample::descriptor_at(volume, 2 * 1024 + group * 64);
    }
    void set_descriptor(std::uint32_t group, const ext4::disk::GroupDescriptor& raw) {
        Ext4Sample{}.write_descriptor(volume, group, raw);
    }
    std::string verdict() const {
        const auto result = ext4::verify(volume, growth);
        return result ? "" : result.error().message;
    }
    void expect(std::string_view part) const {
        const std::string found = verdict();
        INFO(found);
        CHECK(found.find(part) != std::string::npos);
    }
};

}  // namespace

TEST_CASE("what has grown is accepted") {
    CHECK(Grown{}.verdict().empty());
}

TEST_CASE("no byte of superblock, descriptors and their copies may differ") {
    Grown grown;
    const std::uint64_t groups_1_and_9[] = {1 + 1024, 1 + 9 * 1024};
    std::vector<std::uint64_t> places;
    // the reserved blocks of a copy are nobody's
    for (std::uint64_t at = 1024; at < 3 * 1024; at += 37)
        places.push_back(at);
    for (const std::uint64_t start : groups_1_and_9) {
        for (std::uint64_t at = 0; at < 2 * 1024; at += 37)
            places.push_back(start * 1024 + at);
    }
    for (const std::uint64_t at : places) {
        grown.flip(at);
        INFO(at);
        CHECK_FALSE(grown.verdict().empty());
        grown.flip(at);
    }
    CHECK(grown.verdict().empty());
}

TEST_CASE("a group's places and counts are checked though its checksum is right") {
    using Change = void (*)(ext4::disk::GroupDescriptor&);
    struct Case {
        Change change;
        const char* reason;
    };
    const Case cases[] = {
        {[](auto& d) { d.block_bitmap_lo = 1u << 20; }, "block bitmap"},
        {[](auto& d) { d.inode_bitmap_hi = 1; }, "inode bitmap"},
        {[](auto& d) { d.inode_table_lo = 10 * 1024 - 1; }, "inode table"},
        {[](auto& d) { d.inode_table_lo = 1; }, "metadata at block"},
        {[](auto& d) { d.block_bitmap_lo = d.inode_bitmap_lo; }, "metadata at block"},
        {[](auto& d) { d.free_blocks_count_lo = 1025; }, "free blocks"},
        {[](auto& d) { d.free_blocks_count_lo = d.free_blocks_count_lo - 1; }, "number of free blocks"},
        {[](auto& d) { d.free_inodes_count_lo = 17; }, "free inodes"},
        {[](auto& d) { d.free_inodes_count_lo = 15; }, "number of free inodes"},
    };
    for (const Case& each : cases) {
        Grown grown;
        auto raw = grown.descriptor(6);
        each.change(raw);
        grown.set_descriptor(6, raw);
        INFO(each.reason);
        grown.expect(each.reason);
    }
}

TEST_CASE("sums of counts do not make up for wrong ones") {
    Grown grown;
    for (const auto& [group, change] : {std::pair{2u, 3}, std::pair{8u, -3}}) {
        auto raw = grown.descriptor(group);
        raw.free_blocks_count_lo = static_cast<std::uint16_t>(raw.free_blocks_count_lo + change);
        grown.set_descriptor(group, raw);
    }
    grown.expect("group 2's number of free blocks");
}

TEST_CASE("bitmaps are checked bit by bit") {
    // 3: the first new group, 9: the last
    for (const std::uint32_t group : {2u, 3u, 9u}) {
        Grown grown;
        const auto raw = grown.descriptor(group);
        REQUIRE((raw.flags & ext4::disk::block_uninit) == 0);
        const std::uint64_t at = std::uint64_t{raw.block_bitmap_lo} * 1024;
        for (const std::uint64_t byte : {0, 60, 127, 128, 1023}) {
            grown.flip(at + byte);
            CHECK_FALSE(grown.verdict().empty());
            grown.flip(at + byte);
        }
    }
}

TEST_CASE("a bitmap with the right checksum and count, and wrong bits, is noticed") {
    Ext4Sample sample;
    sample.ro_compat = ext4::disk::sparse_super;
    MemoryVolume volume(10 << 20);
    sample.write_to(volume);
    const auto growth = ext4::grow(volume, no_progress());
    REQUIRE(growth);
    REQUIRE(ext4::verify(volume, *growth));
    const auto raw = Ext4Sample::descriptor_at(volume, 2 * 1024 + 3 * 64);
    std::vector<std::byte> bits(1024);
    REQUIRE(volume.read(std::uint64_t{raw.block_bitmap_lo} * 1024, bits));
    ext4::fill_bits(bits, 2, 3, false);
    ext4::fill_bits(bits, 900, 901, true);
    REQUIRE(volume.write(std::uint64_t{raw.block_bitmap_lo} * 1024, bits));
    const auto verdict = ext4::verify(volume, *growth);
    REQUIRE_FALSE(verdict);
    CHECK(verdict.error().message.find("bitmap is not that of its metadata") != std::string::npos);
}

TEST_CASE("a group without a bitmap must be empty") {
    Grown grown;
    // 4 has the metadata of 5, 6 and 7
    auto raw = grown.descriptor(4);
    REQUIRE((raw.flags & ext4::disk::block_uninit) == 0);
    raw.flags = raw.flags | ext4::disk::block_uninit;
    grown.set_descriptor(4, raw);
    grown.expect("no block bitmap");
}

TEST_CASE("the resize inode is followed") {
    Grown grown;
    const std::uint64_t table = grown.descriptor(0).inode_table_lo * 1024ull;
    for (const std::uint64_t at :
         {table + 6 * 128 + 0x28, table + 6 * 128 + 0x28 + 4 * 13 + 3,
          std::uint64_t{Ext4Sample::resize_root} * 1024 + 4,
          std::uint64_t{Ext4Sample::resize_root} * 1024 + 1020, std::uint64_t{3 * 1024},
          std::uint64_t{6 * 1024 + 8}, std::uint64_t{6 * 1024 + 900}}) {
        grown.flip(at);
        INFO(at);
        grown.expect("resize inode");
        grown.flip(at);
    }
    CHECK(grown.verdict().empty());
}

TEST_CASE("a file system of another size is not what was grown") {
    Grown grown;
    grown.growth.new_bytes += 1024;
    grown.expect("size");
}
