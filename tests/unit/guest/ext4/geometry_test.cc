// Superblocks, the places that follow from them, and whether a file system is at rest.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/geometry.hpp"

#include <doctest/doctest.h>

#include "base/bytes.hpp"
#include "guest/ext4/bits.hpp"
#include "support/ext4_sample.hpp"
#include "support/memory_volume.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::Ext4Sample;
using test::MemoryVolume;

namespace {

// A file system with a journal in inode 8 whose first block is block 700.
struct WithJournal {
    MemoryVolume volume{4 << 20};
    ext4::disk::Inode inode{};

    WithJournal() {
        Ext4Sample{}.write_to(volume);
        auto superblock = Ext4Sample{}.superblock();
        superblock.feature_compat = superblock.feature_compat | ext4::disk::has_journal;
        superblock.journal_inum = 8;
        Ext4Sample::write_superblock(volume, superblock);
        set_journal(ext4::disk::journal_magic, 0, 0);
    }
    void put(std::uint64_t at, const auto& value) {
        std::vector<std::byte> bytes(sizeof value);
        store(std::span(bytes), value);
        REQUIRE(volume.write(at, bytes));
    }
    void set_journal(std::uint32_t magic, std::uint32_t start, std::uint32_t error) {
        ext4::disk::JournalSuperblock journal{};
        journal.magic = magic;
        journal.start = start;
        journal.error = error;
        put(700 * 1024, journal);
    }
    // A node of an extent tree: its header, and three numbers of its first entry.
    static std::array<le32, 6> node(std::uint32_t depth, le32 first, le32 second, le32 third) {
        const std::uint32_t entries = 1;
        return {ext4::disk::extent_magic | entries << 16, 4 | depth << 16, 0, first, second, third};
    }
    void set_inode(std::uint32_t flags, std::span<const le32> block) {
        inode.flags = flags;
        std::ranges::copy(block, inode.block.begin());
        const auto table = Ext4Sample::descriptor_at(volume, 2 * 1024).inode_table_lo;
        put(table * 1024ull + 7 * Ext4Sample::inode_bytes, inode);
    }
    std::string verdict() const {
        const auto found = ext4::read_superblock(volume);
        REQUIRE(found);
        const auto result = ext4::check_ready(volume, *found);
        return result ? "" : result.error().message;
    }
    bool refused_with(std::string_view part) const { return verdict().find(part) != std::string::npos; }
};

}  // namespace

TEST_CASE("checksums are those of their catalogue entries") {
    CHECK(ext4::crc32c(~0u, bytes_of("123456789")) == ~0xe3069283u);
    CHECK(ext4::crc16(0, bytes_of("123456789")) == 0xbb3d);
}

TEST_CASE("bits are set, cleared and counted at any place") {
    std::vector<std::byte> bits(19);
    ext4::fill_bits(bits, 3, 131, true);
    CHECK(ext4::count_zeroes(bits) == 152 - 128);
    CHECK_FALSE(ext4::bit_at(bits, 2));
    CHECK(ext4::bit_at(bits, 3));
    CHECK(ext4::bit_at(bits, 130));
    CHECK_FALSE(ext4::bit_at(bits, 131));
    ext4::fill_bits(bits, 5, 6, false);
    ext4::fill_bits(bits, 8, 17, false);
    CHECK(ext4::count_zeroes(bits) == 152 - 128 + 10);
    CHECK(ext4::bit_at(bits, 17));
}

TEST_CASE("superblocks are in groups 0 and 1 and in powers of 3, 5 and 7, in two named ones, or in all") {
    ext4::Geometry g;
    g.ro_compat = ext4::disk::sparse_super;
    std::vector<std::uint32_t> found;
    for (std::uint32_t group = 0; group < 130; ++group) {
        if (g.has_superblock(group)) found.push_back(group);
    }
    CHECK(found == std::vector<std::uint32_t>{0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125});
    CHECK(g.has_superblock(78125));
    CHECK_FALSE(g.has_superblock(78127));
    g.compat = ext4::disk::sparse_super2;
    g.backup_groups = {1, 17};
    CHECK(g.has_superblock(17));
    CHECK_FALSE(g.has_superblock(3));
    g = {};
    CHECK(g.has_superblock(6));
}

TEST_CASE("a meta group's first, second and last group begin with its descriptors") {
    ext4::Geometry g;
    g.block_bytes = 1024;
    g.descriptor_bytes = 64;
    g.blocks_per_group = 8192;
    g.first_data_block = 1;
    g.groups = 100;
    g.blocks = 100 * 8192;
    g.ro_compat = ext4::disk::sparse_super;
    g.incompat = ext4::disk::meta_bg;
    g.first_meta_block = 2;
    CHECK(g.descriptor_blocks() == 7);
    CHECK(g.base_blocks(0) == 3);
    CHECK(g.base_blocks(9) == 3);
    CHECK(g.base_blocks(16) == 0);
    CHECK(g.base_blocks(32) == 1);
    CHECK(g.base_blocks(33) == 1);
    CHECK(g.base_blocks(34) == 0);
    CHECK(g.base_blocks(47) == 1);
    CHECK(g.base_blocks(49) == 2);
    CHECK(g.base_blocks(81) == 2);
    CHECK(g.descriptor_block(1) == 3);
    CHECK(g.descriptor_block(2) == 1 + 32 * 8192);
}

TEST_CASE("a superblock is read, and what it is about") {
    MemoryVolume volume(4 << 20);
    Ext4Sample{}.write_to(volume);
    const auto found = ext4::read_superblock(volume);
    REQUIRE(found);
    CHECK(found->geometry.groups == 3);
    CHECK(found->geometry.groups_per_flex == 4);
    CHECK(found->geometry.bytes() == 2500 * 1024);
    CHECK(ext4::check_ready(volume, *found));
}

TEST_CASE("a superblock that breaks a rule is refused") {
    using Change = void (*)(ext4::disk::Superblock&);
    struct Case {
        const char* name;
        Change change;
        ErrorKind kind;
    };
    const Case cases[] = {
        {"magic", [](auto& s) { s.magic = 1; }, ErrorKind::corrupt},
        {"revision", [](auto& s) { s.rev_level = 0; }, ErrorKind::unsupported},
        {"incompat", [](auto& s) { s.feature_incompat = s.feature_incompat | 0x800; },
         ErrorKind::unsupported},
        {"ro_compat", [](auto& s) { s.feature_ro_compat = s.feature_ro_compat | 1u << 31; },
         ErrorKind::unsupported},
        {"compat", [](auto& s) { s.feature_compat = s.feature_compat | 1u << 20; }, ErrorKind::unsupported},
        {"bigalloc", [](auto& s) { s.feature_ro_compat = s.feature_ro_compat | 0x200; },
         ErrorKind::unsupported},
        {"journal", [](auto& s) { s.feature_incompat = 8; }, ErrorKind::unsupported},
        {"checksum type", [](auto& s) { s.checksum_type = 2; }, ErrorKind::unsupported},
        {"block size", [](auto& s) { s.log_block_size = 7; }, ErrorKind::corrupt},
        {"large blocks", [](auto& s) { s.log_block_size = 4; }, ErrorKind::unsupported},
        {"first block", [](auto& s) { s.first_data_block = 0; }, ErrorKind::corrupt},
        {"clusters", [](auto& s) { s.log_cluster_size = 2; }, ErrorKind::corrupt},
        {"no blocks per group", [](auto& s) { s.blocks_per_group = s.clusters_per_group = 0; },
         ErrorKind::corrupt},
        {"many blocks per group", [](auto& s) { s.blocks_per_group = s.clusters_per_group = 8200; },
         ErrorKind::corrupt},
        {"inode size", [](auto& s) { s.inode_size = 64; }, ErrorKind::corrupt},
        {"odd inode size", [](auto& s) { s.inode_size = 192; }, ErrorKind::corrupt},
        {"no inodes", [](auto& s) { s.inodes_per_group = 0; }, ErrorKind::corrupt},
        {"other inodes", [](auto& s) { s.inodes_count = 47; }, ErrorKind::corrupt},
        {"descriptor size", [](auto& s) { s.desc_size = 128; }, ErrorKind::unsupported},
        {"flex", [](auto& s) { s.log_groups_per_flex = 32; }, ErrorKind::corrupt},
        {"longer than the volume", [](auto& s) { s.blocks_count_lo = 4097; }, ErrorKind::corrupt},
        {"far longer", [](auto& s) { s.blocks_count_hi = 1; }, ErrorKind::corrupt},
        {"empty", [](auto& s) { s.blocks_count_lo = 1; }, ErrorKind::corrupt},
        {"reserved", [](auto& s) { s.r_blocks_count_lo = 2501; }, ErrorKind::corrupt},
        {"reserved descriptors", [](auto& s) { s.reserved_gdt_blocks = 257; }, ErrorKind::corrupt},
        {"meta groups", [](auto& s) { s.feature_incompat = s.feature_incompat | 0x10; }, ErrorKind::corrupt},
        {"a superblock in each", [](auto& s) { s.feature_ro_compat = 0x400; }, ErrorKind::unsupported},
    };
    for (const Case& each : cases) {
        INFO(each.name);
        MemoryVolume volume(4 << 20);
        auto superblock = Ext4Sample{}.superblock();
        each.change(superblock);
        Ext4Sample::write_superblock(volume, superblock);
        const auto found = ext4::read_superblock(volume);
        REQUIRE_FALSE(found);
        CHECK(found.error().kind == each.kind);
    }
}

TEST_CASE("a wrong checksum is noticed") {
    MemoryVolume volume(4 << 20);
    Ext4Sample{}.write_to(volume);
    const std::byte one{1};
    REQUIRE(volume.write(ext4::disk::superblock_at + 0x78, std::span(&one, 1)));
    CHECK_FALSE(ext4::read_superblock(volume));
}

TEST_CASE("a file system that is not at rest is refused") {
    using Change = void (*)(ext4::disk::Superblock&);
    struct Case {
        const char* name;
        Change change;
        ErrorKind kind;
    };
    const Case cases[] = {
        {"not clean", [](auto& s) { s.state = 0; }, ErrorKind::in_use},
        {"errors", [](auto& s) { s.state = 3; }, ErrorKind::corrupt},
        {"orphans", [](auto& s) { s.state = 5; }, ErrorKind::in_use},
        {"an orphan", [](auto& s) { s.last_orphan = 12; }, ErrorKind::in_use},
        {"an orphan file", [](auto& s) { s.feature_ro_compat = s.feature_ro_compat | 0x10000; },
         ErrorKind::in_use},
        {"a journal to replay", [](auto& s) { s.feature_incompat = s.feature_incompat | 4; },
         ErrorKind::in_use},
        {"read only", [](auto& s) { s.feature_ro_compat = s.feature_ro_compat | 0x1000; },
         ErrorKind::unsupported},
        {"shared blocks", [](auto& s) { s.feature_ro_compat = s.feature_ro_compat | 0x4000; },
         ErrorKind::unsupported},
        {"no multi-mount block", [](auto& s) { s.feature_incompat = s.feature_incompat | 0x100; },
         ErrorKind::corrupt},
    };
    for (const Case& each : cases) {
        INFO(each.name);
        MemoryVolume volume(4 << 20);
        auto superblock = Ext4Sample{}.superblock();
        each.change(superblock);
        Ext4Sample::write_superblock(volume, superblock);
        const auto found = ext4::read_superblock(volume);
        REQUIRE(found);
        const auto verdict = ext4::check_ready(volume, *found);
        REQUIRE_FALSE(verdict);
        CHECK(verdict.error().kind == each.kind);
    }
}

TEST_CASE("another machine's mark in the multi-mount block is heeded") {
    for (const auto& [sequence, is_free] :
         {std::pair{0xff4d4d50u, true}, {1u, false}, {0xe24d4d50u, false}}) {
        MemoryVolume volume(4 << 20);
        auto superblock = Ext4Sample{}.superblock();
        superblock.feature_incompat = superblock.feature_incompat | ext4::disk::mmp;
        superblock.mmp_block = 600;
        Ext4Sample::write_superblock(volume, superblock);
        std::vector<std::byte> block(sizeof(ext4::disk::MmpBlock));
        store(std::span(block), ext4::disk::MmpBlock{ext4::disk::mmp_magic, sequence});
        REQUIRE(volume.write(600 * 1024, block));
        const auto found = ext4::read_superblock(volume);
        REQUIRE(found);
        CHECK(ext4::check_ready(volume, *found).has_value() == is_free);
    }
}

TEST_CASE("a journal is empty, or the file system is not at rest") {
    WithJournal disk;
    disk.set_inode(ext4::disk::has_extents, WithJournal::node(0, 0, 1024, 700));
    CHECK(disk.verdict().empty());
    disk.set_journal(ext4::disk::journal_magic, 1, 0);
    CHECK(disk.refused_with("not empty"));
    disk.set_journal(ext4::disk::journal_magic, 0, 5);
    CHECK(disk.refused_with("error"));
    disk.set_journal(0, 0, 0);
    CHECK(disk.refused_with("cannot be found"));
}

TEST_CASE("a journal is found through blocks and through extents, and nowhere else") {
    WithJournal disk;
    const std::array<le32, 1> direct{700};
    disk.set_inode(0, direct);
    CHECK(disk.verdict().empty());
    const std::array<le32, 1> outside{2500};
    disk.set_inode(0, outside);
    CHECK(disk.refused_with("cannot be found"));
    disk.set_inode(ext4::disk::has_extents, direct);
    CHECK(disk.refused_with("cannot be found"));
    disk.set_inode(ext4::disk::has_extents, WithJournal::node(0, 1, 1024, 700));
    CHECK(disk.refused_with("cannot be found"));
    disk.set_inode(ext4::disk::has_extents, WithJournal::node(0, 0, 1024 | 1u << 16, 700));
    CHECK(disk.refused_with("cannot be found"));
    disk.set_inode(ext4::disk::has_extents, WithJournal::node(1, 0, 701, 0));
    CHECK(disk.refused_with("cannot be found"));
    disk.put(701 * 1024, WithJournal::node(0, 0, 1024, 700));
    CHECK(disk.verdict().empty());
    disk.set_inode(ext4::disk::has_extents, WithJournal::node(1, 0, 2500, 0));
    CHECK(disk.refused_with("cannot be found"));
}

TEST_CASE("an extent tree that leads to itself comes to an end") {
    WithJournal disk;
    disk.set_inode(ext4::disk::has_extents, WithJournal::node(1, 0, 701, 0));
    disk.put(701 * 1024, WithJournal::node(1, 0, 701, 0));
    CHECK(disk.refused_with("cannot be found"));
}

TEST_CASE("a journal on another disk is left to the mark in the superblock") {
    WithJournal disk;
    auto superblock = Ext4Sample{}.superblock();
    superblock.feature_compat = superblock.feature_compat | ext4::disk::has_journal;
    superblock.journal_dev = 0x801;
    Ext4Sample::write_superblock(disk.volume, superblock);
    CHECK(disk.verdict().empty());
    superblock.journal_dev = 0;
    Ext4Sample::write_superblock(disk.volume, superblock);
    CHECK(disk.refused_with("cannot be found"));
}
