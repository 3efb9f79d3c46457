// Which chunk trees are believed, each rule by itself: checksums are right, what they cover is not.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/chunk_tree.hpp"

#include <doctest/doctest.h>

#include <array>

#include "support/btrfs_sample.hpp"
#include "support/memory_volume.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::BtrfsSample;
using test::MemoryVolume;
namespace disk = btrfs::disk;

namespace {

struct Made {
    BtrfsSample sample;
    MemoryVolume volume{60 * MiB};

    explicit Made(unsigned levels = 1) {
        sample.levels = levels;
        sample.write_to(volume);
    }

    std::string verdict() const {
        const auto superblock = btrfs::read_superblock(volume);
        REQUIRE(superblock);
        const auto leaf = btrfs::read_chunk_tree(volume, *superblock);
        if (leaf) return "";
        CHECK(leaf.error().kind == ErrorKind::corrupt);
        return leaf.error().message;
    }
    void expect(std::string_view reason) const {
        const std::string found = verdict();
        CAPTURE(reason);
        INFO(found);
        CHECK_FALSE(reason.empty());
        CHECK(found.find(reason) != std::string::npos);
    }
    // The tree with other items.
    void expect(const std::vector<BtrfsSample::Item>& items, std::string_view reason) {
        sample.put_tree(volume, items);
        expect(reason);
    }
    // Its root with another header.
    template <class Change>
    void with_header(const Change& change, std::string_view reason) {
        Bytes block = sample.leaf(sample.system_chunk, sample.items());
        auto header = load<disk::BlockHeader>(block);
        change(header);
        store(std::span(block), header);
        sample.put_block(volume, sample.system_chunk, block);
        expect(reason);
    }
};

// One of the chunk items, changed.
std::vector<BtrfsSample::Item> with_chunk(const BtrfsSample& sample, std::size_t index,
                                          void (*change)(disk::Chunk&)) {
    auto items = sample.items();
    auto chunk = load<disk::Chunk>(items[index].second);
    change(chunk);
    store(std::span(items[index].second), chunk);
    return items;
}

std::vector<BtrfsSample::Item> with_stripe(const BtrfsSample& sample, std::size_t index, std::size_t number,
                                           void (*change)(disk::Stripe&)) {
    auto items = sample.items();
    const std::size_t at = sizeof(disk::Chunk) + number * sizeof(disk::Stripe);
    auto stripe = load<disk::Stripe>(std::span(items[index].second).subspan(at));
    change(stripe);
    store(std::span(items[index].second).subspan(at), stripe);
    return items;
}

std::vector<BtrfsSample::Item> with_device(const BtrfsSample& sample, void (*change)(disk::DeviceItem&)) {
    auto items = sample.items();
    auto device = load<disk::DeviceItem>(items[0].second);
    change(device);
    store(std::span(items[0].second), device);
    return items;
}

}  // namespace

TEST_CASE("trees of one level and of two lead to the device") {
    for (const unsigned levels : {1u, 2u}) {
        const Made made(levels);
        const auto superblock = btrfs::read_superblock(made.volume);
        REQUIRE(superblock);
        const auto leaf = btrfs::read_chunk_tree(made.volume, *superblock);
        REQUIRE(leaf);
        const std::uint64_t first = made.sample.first_leaf();
        CHECK(leaf->places == std::vector{first, first + MiB});
        CHECK(load<disk::DeviceItem>(std::span(leaf->content).subspan(leaf->item_at)).total_bytes ==
              50 * MiB);
    }
}

TEST_CASE("a block that is not what led to it is refused") {
    Made().with_header([](auto& h) { h.fsid[0] = std::byte{1}; }, "belongs to something else");
    Made().with_header([](auto& h) { h.owner = 2; }, "belongs to something else");
    Made().with_header([](auto& h) { h.flags = 0; }, "belongs to something else");
    Made().with_header([](auto& h) { h.logical = 2 * MiB; }, "checksum");
    Made().with_header([](auto& h) { h.level = 1; }, "not the one that is meant");
    Made().with_header([](auto& h) { h.generation = 4; }, "not the one that is meant");
    Made().with_header([](auto& h) { h.items = 0; }, "number of items");
    Made().with_header([](auto& h) { h.items = 160; }, "number of items");
    Made().with_header([](auto& h) { h.items = ~0u; }, "number of items");
    Made().with_header([](auto& h) { h.items = 5; }, "not where it shall be");
}

TEST_CASE("both copies of a block are looked at") {
    for (const std::uint64_t copy : {BtrfsSample::system_chunk, BtrfsSample::system_copy}) {
        Made made(2);
        const std::byte one{1};
        REQUIRE(made.volume.write(copy + made.sample.node_bytes + 2000, std::span(&one, 1)));
        made.expect(copy == BtrfsSample::system_chunk ? "checksum" : "copies");
    }
}

TEST_CASE("a node that leads astray is refused") {
    const auto expect = [](std::vector<std::pair<disk::Key, std::uint64_t>> children,
                           std::string_view reason) {
        Made made(2);
        made.sample.put_block(made.volume, MiB, made.sample.node(MiB, children));
        made.expect(reason);
    };
    const disk::Key device = BtrfsSample::device_key(), chunk = BtrfsSample::chunk_key(4 * MiB);
    const std::uint64_t first = MiB + 4096, second = MiB + 8192;
    expect({{device, first}, {device, first}}, "out of order");
    expect({{chunk, second}, {device, first}}, "out of order");
    expect({{device, second}}, "begins with another key");
    expect({{device, MiB}}, "not the one that is meant");
    expect({{device, first}, {chunk, 2 * MiB}}, "in no system chunk");
    expect({{device, 2 * MiB - 2048}}, "in no system chunk");
    expect({{device, ~0ull - 4095}}, "in no system chunk");
    expect({{device, first + 2048}}, "between two");
    expect({{chunk, second}}, "no device");
}

TEST_CASE("items that lie on each other, or outside their leaf, are refused") {
    const std::pair<std::uint32_t, std::uint32_t> wrong[] = {{~0u, 98},  {3897, ~0u}, {3896, 98},
                                                             {3898, 98}, {0, 3995},   {4000, 98}};
    for (const auto& [place, bytes] : wrong) {
        Made made;
        Bytes block = made.sample.leaf(MiB, made.sample.items());
        store(std::span(block).subspan(sizeof(disk::BlockHeader)),
              disk::Item{BtrfsSample::device_key(), place, bytes});
        made.sample.put_block(made.volume, MiB, block);
        made.expect("not where it shall be");
    }
}

TEST_CASE("items that do not belong into the tree are refused") {
    Made made;
    auto items = made.sample.items();
    const disk::Key unknown{disk::chunks_object, 1, MiB};
    made.expect({items[0], {unknown, items[1].second}}, "not known");
    made.expect({items[0], items[2], items[1]}, "out of order");
    made.expect({items[0], items[1], items[1]}, "out of order");
    made.expect({items[1], items[2]}, "no device");
    made.expect({{disk::Key{disk::devices_object, disk::device_item, 2}, items[0].second}}, "another device");
    made.expect({items[0], {disk::Key{disk::devices_object, disk::device_item, 2}, items[0].second}},
                "another device");
    made.expect({{items[0].first, Bytes(97)}}, "another device");
    made.expect({items[0], {disk::Key{255, disk::chunk_item, MiB}, items[1].second}}, "under another key");
    made.expect({items[0],
                 {BtrfsSample::chunk_key(5 * MiB - 4096), items[2].second},
                 {BtrfsSample::chunk_key(6 * MiB), items[2].second}},
                "chunks on each other");
}

TEST_CASE("a device that is not the superblock's is refused") {
    Made made;
    const auto expect = [&](void (*change)(disk::DeviceItem&)) {
        made.expect(with_device(made.sample, change), "differ");
    };
    expect([](disk::DeviceItem& item) { item.id = 2; });
    expect([](disk::DeviceItem& item) { item.total_bytes = 49 * MiB; });
    expect([](disk::DeviceItem& item) { item.uuid[0] = std::byte{1}; });
    expect([](disk::DeviceItem& item) { item.fsid[0] = std::byte{1}; });
}

TEST_CASE("a chunk that cannot be is refused") {
    Made made;
    const BtrfsSample& sample = made.sample;
    const auto chunk = [&](std::size_t index, void (*change)(disk::Chunk&), std::string_view reason) {
        made.expect(with_chunk(sample, index, change), reason);
    };
    chunk(
        2, [](disk::Chunk& c) { c.length = 0; }, "addresses");
    chunk(
        2, [](disk::Chunk& c) { c.length = 4097; }, "addresses");
    chunk(
        2, [](disk::Chunk& c) { c.length = ~0ull - 4095; }, "addresses");
    chunk(
        2, [](disk::Chunk& c) { c.stripe_length = 4096; }, "addresses");
    chunk(
        2, [](disk::Chunk& c) { c.type = 0; }, "type");
    chunk(
        2, [](disk::Chunk& c) { c.type = disk::data | 0x10; }, "type");
    chunk(
        2, [](disk::Chunk& c) { c.type = disk::data | disk::dup; }, "type");
    chunk(
        2, [](disk::Chunk& c) { c.type = disk::data | 1ull << 63; }, "type");
    chunk(
        2, [](disk::Chunk& c) { c.stripes = 0; }, "type");
    chunk(
        2, [](disk::Chunk& c) { c.stripes = 2; }, "type");
    chunk(
        2, [](disk::Chunk& c) { c.length = 47 * MiB; }, "outside the device");
    const auto stripe = [&](std::size_t index, std::size_t number, void (*change)(disk::Stripe&),
                            std::string_view reason) {
        made.expect(with_stripe(sample, index, number, change), reason);
    };
    stripe(
        2, 0, [](disk::Stripe& s) { s.device = 2; }, "another device");
    stripe(
        2, 0, [](disk::Stripe& s) { s.device_uuid[0] = std::byte{1}; }, "another device");
    stripe(
        2, 0, [](disk::Stripe& s) { s.offset = 4097; }, "outside the device");
    stripe(
        2, 0, [](disk::Stripe& s) { s.offset = ~0ull - 4095; }, "outside the device");
    stripe(
        2, 0, [](disk::Stripe& s) { s.offset = 47 * MiB; }, "outside the device");
    stripe(
        1, 1, [](disk::Stripe& s) { s.offset = 2 * MiB - 4096; }, "copies of a chunk");
    for (const std::size_t bytes : {0u, 47u, 48u, 79u, 81u, 112u}) {
        auto items = sample.items();
        items[2].second.resize(bytes);
        made.expect(items, "length of a chunk item");
    }
}

TEST_CASE("system chunks that lie on each other, or hold no metadata of the tree, are refused") {
    const auto expect = [](std::vector<BtrfsSample::Item> chunks, std::string_view reason) {
        Made made;
        auto raw = made.sample.superblock();
        BtrfsSample::put_system_chunks(raw, chunks);
        made.sample.put_superblocks(made.volume, raw);
        made.expect(reason);
    };
    const BtrfsSample sample;
    const BtrfsSample::Item system{BtrfsSample::chunk_key(MiB), sample.system_item()};
    const auto chunk = [&](std::uint64_t place) {
        return sample.chunk_item(disk::system, MiB, std::array{place});
    };
    expect({system, system}, "on each other");
    expect({system, {BtrfsSample::chunk_key(2 * MiB - 4096), chunk(8 * MiB)}}, "on each other");
    expect({system, {BtrfsSample::chunk_key(8 * MiB), chunk(3 * MiB - 4096)}}, "on each other");
    expect({{BtrfsSample::chunk_key(MiB), sample.data_item()}}, "system chunks");
    expect({{BtrfsSample::chunk_key(MiB), chunk(0x1'0000 - 4096)}}, "checksum");
    expect({{BtrfsSample::chunk_key(MiB), chunk(0x1'0000)}}, "on a superblock");
}

TEST_CASE("a system chunk of RAID0 on one device is as it is") {
    Made made;
    auto raw = made.sample.superblock();
    const Bytes item = made.sample.chunk_item(disk::system | disk::raid0, MiB, std::array{MiB});
    BtrfsSample::put_system_chunks(raw, {{BtrfsSample::chunk_key(MiB), item}});
    made.sample.put_superblocks(made.volume, raw);
    CHECK(made.verdict().empty());
}
