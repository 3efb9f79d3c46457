// What breaks a rule of the format is noticed before anything is written.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "guest/xfs/grow.hpp"
#include "support/memory_volume.hpp"
#include "support/xfs_sample.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::MemoryVolume;
using test::XfsSample;
using Super = xfs::disk::Superblock;
using Space = xfs::disk::FreeSpace;
using Inodes = xfs::disk::Inodes;
using Tree = xfs::disk::TreeBlock;

namespace {

struct Change {
    std::size_t field;
    Bytes value;
};

template <class T>
Bytes raw(T value) {
    Bytes bytes(sizeof value);
    store(std::span(bytes), value);
    return bytes;
}
Bytes one_byte(unsigned value) {
    return Bytes{std::byte(value)};
}

// `change` in a sector or block whose checksum is made right again.
void check_refused(const XfsSample& sample, std::uint64_t at, std::size_t length, std::size_t checksum,
                   const Change& change, ErrorKind kind) {
    CAPTURE(change.field);
    MemoryVolume volume(sample.bytes());
    sample.write_to(volume);
    Bytes bytes(length);
    volume.read(at, bytes).value();
    std::ranges::copy(change.value, bytes.begin() + static_cast<std::ptrdiff_t>(change.field));
    XfsSample::seal(bytes, checksum);
    volume.write(at, bytes).value();
    volume.resize(30 << 20);
    const std::uint64_t written = volume.bytes_written;
    const auto growth = xfs::grow(volume, no_progress());
    REQUIRE(!growth);
    INFO(growth.error().message);
    CHECK(growth.error().kind == kind);
    CHECK(volume.bytes_written == written);
}

}  // namespace

TEST_CASE("a superblock that says what cannot be") {
    const XfsSample sample;
    const auto check = [&](std::size_t field, const Bytes& value, ErrorKind kind = ErrorKind::corrupt) {
        check_refused(sample, 0, 512, offsetof(Super, checksum), {field, value}, kind);
    };
    check(offsetof(Super, magic), raw(be32(7)));
    for (const std::uint32_t bytes : {0u, 512u, 1000u, 2048u, 1u << 20})
        check(offsetof(Super, block_bytes), raw(be32(bytes)));
    for (const unsigned bytes : {0u, 256u, 513u, 1024u, 2048u})
        check(offsetof(Super, sector_bytes), raw(be16(static_cast<std::uint16_t>(bytes))));
    for (const std::uint64_t blocks : {0ull, 4000ull, 4159ull, 8193ull, 1ull << 40, ~0ull})
        check(offsetof(Super, blocks), raw(be64(blocks)));
    for (const std::uint32_t blocks : {0u, 1u, 63u, 3000u, ~0u})
        check(offsetof(Super, group_blocks), raw(be32(blocks)));
    for (const std::uint32_t groups : {0u, 1u, 3u, ~0u})
        check(offsetof(Super, groups), raw(be32(groups)));
    check(offsetof(Super, group_blocks_log), one_byte(13));
    for (const std::uint64_t start : {1ull, 4095ull, 3ull << 12, ~0ull})
        check(offsetof(Super, log_start), raw(be64(start)));
    for (const std::uint32_t blocks : {0u, 4000u, ~0u})
        check(offsetof(Super, log_blocks), raw(be32(blocks)));
    for (const std::uint64_t blocks : {0ull, 77ull, ~0ull})
        check(offsetof(Super, free_blocks), raw(be64(blocks)));
    check(offsetof(Super, inodes), raw(be64(64)));
    check(offsetof(Super, free_inodes), raw(be64(64)));
    check(offsetof(Super, in_progress), one_byte(1));
    check(offsetof(Super, lsn), raw(be64(9ull << 32)));
    check(offsetof(Super, version), raw(be16(0x2005)));
    check(offsetof(Super, features2), raw(be32(0x188)));
    check(offsetof(Super, incompat), raw(be32(0x1b)));
}

TEST_CASE("a superblock of what is not known here") {
    const XfsSample sample;
    const auto check = [&](std::size_t field, const Bytes& value) {
        check_refused(sample, 0, 512, offsetof(Super, checksum), {field, value}, ErrorKind::unsupported);
    };
    check(offsetof(Super, version), raw(be16(0xb4a4)));
    check(offsetof(Super, version), raw(be16(0xb6a5)));
    check(offsetof(Super, features2), raw(be32(0x1000018a)));
    check(offsetof(Super, compat), raw(be32(1)));
    check(offsetof(Super, ro_compat), raw(be32(0x1f)));
    check(offsetof(Super, incompat), raw(be32(0x4b)));
    check(offsetof(Super, log_incompat), raw(be32(1)));
    check(offsetof(Super, realtime_blocks), raw(be64(1)));
    check(offsetof(Super, realtime_extents), raw(be64(1)));
    check(offsetof(Super, log_start), raw(be64(0)));
    check(offsetof(Super, flags), one_byte(1));
}

TEST_CASE("a header of free space that says what cannot be") {
    const XfsSample sample;
    for (const std::uint64_t at : {std::uint64_t{512}, sample.last_at() + 512}) {
        const auto check = [&](std::size_t field, std::uint32_t value) {
            check_refused(sample, at, 512, offsetof(Space, checksum), {field, raw(be32(value))},
                          ErrorKind::corrupt);
        };
        check(offsetof(Space, magic), 1);
        check(offsetof(Space, version), 2);
        check(offsetof(Space, group), 7);
        check(offsetof(Space, blocks), 1999);
        check(offsetof(Space, uuid), 0);
        check(offsetof(Space, lsn), 2);
        for (const std::uint32_t block : {0u, 1u, 5000u, ~0u}) {
            check(offsetof(Space, by_start_root), block);
            check(offsetof(Space, by_count_root), block);
            check(offsetof(Space, reverse_map_root), block);
            check(offsetof(Space, reference_count_root), block);
        }
        for (const std::uint32_t levels : {0u, 10u, ~0u}) {
            check(offsetof(Space, by_start_levels), levels);
            check(offsetof(Space, by_count_levels), levels);
            check(offsetof(Space, reverse_map_levels), levels);
            check(offsetof(Space, reference_count_levels), levels);
        }
        check(offsetof(Space, reverse_map_blocks), 0);
        check(offsetof(Space, free_blocks), ~0u);
        check(offsetof(Space, free_blocks), 5);
        check(offsetof(Space, longest), ~0u);
        check(offsetof(Space, tree_blocks), 1);
        check(offsetof(Space, list_count), 3);
    }
}

TEST_CASE("the last group's header, lists and trees say the same") {
    const XfsSample sample;
    const auto space = [&](std::size_t field, std::uint32_t value) {
        check_refused(sample, sample.last_at() + 512, 512, offsetof(Space, checksum),
                      {field, raw(be32(value))}, ErrorKind::corrupt);
    };
    space(offsetof(Space, longest), 5);
    space(offsetof(Space, by_start_levels), 2);
    space(offsetof(Space, by_count_root), 10);  // the other tree's
    space(offsetof(Space, list_first), 119);
    space(offsetof(Space, list_last), 119);
    space(offsetof(Space, list_first), 2);
    const auto list = [&](std::size_t field, std::uint32_t value) {
        check_refused(sample, sample.last_at() + 1536, 512, offsetof(xfs::disk::FreeList, checksum),
                      {field, raw(be32(value))}, ErrorKind::corrupt);
    };
    list(offsetof(xfs::disk::FreeList, magic), 1);
    list(offsetof(xfs::disk::FreeList, group), 0);
    list(36 + 4, 0);     // a block of the headers
    list(36 + 4, 2);     // the root of a tree
    list(36 + 4, 2000);  // outside
    list(36 + 4, 1000);  // free
    list(36 + 8, 6);     // twice
    const auto inodes = [&](std::size_t field, std::uint32_t value) {
        check_refused(sample, sample.last_at() + 1024, 512, offsetof(Inodes, checksum),
                      {field, raw(be32(value))}, ErrorKind::corrupt);
    };
    inodes(offsetof(Inodes, magic), 1);
    inodes(offsetof(Inodes, blocks), 1);
    inodes(offsetof(Inodes, root), 1);
    inodes(offsetof(Inodes, root), 1500);  // free
    inodes(offsetof(Inodes, free_root), 2000);
    inodes(offsetof(Inodes, levels), 0);
    inodes(offsetof(Inodes, free_count), 1);
    inodes(offsetof(Inodes, lsn), 2);
}

TEST_CASE("the last group's trees have the blocks, keys and order of the format") {
    XfsSample sample;
    sample.group_blocks = 16 * 1024;
    sample.last_blocks = 8 * 1024;
    for (std::uint32_t i = 0; i < 500; ++i)
        sample.free.push_back({1000 + 4 * i, 1 + i % 3});
    // inode trees 2 and 3, reverse map 4, reference counts 5, the list 6 to 9, then five leaves and their root
    constexpr std::uint32_t leaf = 10, root = 15;
    const auto check = [&](std::uint32_t block, std::size_t field, const Bytes& value) {
        CAPTURE(block);
        check_refused(sample, sample.last_at() + std::uint64_t{block} * 1024, 1024, offsetof(Tree, checksum),
                      {field, value}, ErrorKind::corrupt);
    };
    for (const std::uint32_t block : {leaf, leaf + 4, root, root + 1, root + 6}) {
        check(block, offsetof(Tree, magic), raw(be32(xfs::disk::inode_tree_magic)));
        check(block, offsetof(Tree, level), raw(be16(2)));
        check(block, offsetof(Tree, count), raw(be16(1000)));
        check(block, offsetof(Tree, count), raw(be16(0)));
        check(block, offsetof(Tree, left), raw(be32(500)));
        check(block, offsetof(Tree, right), raw(be32(leaf)));
        check(block, offsetof(Tree, place), raw(be64(0)));
        check(block, offsetof(Tree, lsn), raw(be64(2ull << 32)));
        check(block, offsetof(Tree, uuid), raw(be32(0)));
        check(block, offsetof(Tree, group), raw(be32(0)));
        check(block, sizeof(Tree), raw(be32(~0u)));  // a start
        check(block, sizeof(Tree) + 8, raw(be32(0)));
    }
    check(leaf, offsetof(Tree, count), raw(be16(59)));  // less than half full
    check(leaf, sizeof(Tree) + 4, raw(be32(0)));        // an extent of nothing
    check(leaf, sizeof(Tree) + 4, raw(be32(4)));        // one that reaches the next
    check(leaf + 4, sizeof(Tree) + 4, raw(be32(~0u)));
    for (const std::uint32_t block : {0u, 1u, leaf + 1, root, 8192u, ~0u})
        check(root, sizeof(Tree) + 80 * 8, raw(be32(block)));
    check(root + 6, sizeof(Tree) + 8 + 4, raw(be32(3)));  // a key's length, by count
}
