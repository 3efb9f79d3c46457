// The metadata that tells of the device of a small btrfs file system, made from the description of the format alone:
// superblocks, the chunk tree, and those of roots and of devices. Other trees are not there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "guest/btrfs/checksum.hpp"
#include "guest/btrfs/disk_layout.hpp"
#include "guest/volume.hpp"
#include "qimg/units.hpp"

namespace qimg::test {

struct BtrfsSample {
    using Key = guest::btrfs::disk::Key;
    using Item = std::pair<Key, Bytes>;

    std::uint64_t bytes = 50 * MiB;
    std::uint32_t node_bytes = 4096;
    bool has_copy = true;  // of the system chunk
    unsigned levels = 1;   // of the chunk tree: one leaf, or a node over two
    std::uint16_t checksum = 0;

    static constexpr std::uint64_t system_chunk = MiB;  // its address and its first place
    static constexpr std::uint64_t system_copy = 2 * MiB;
    static constexpr std::uint64_t data_chunk = 4 * MiB;
    static constexpr std::uint64_t metadata_chunk = 8 * MiB;  // the root of the tree of roots begins it
    static constexpr std::uint64_t generation = 5, device = 1;

    static Key device_key() {
        namespace disk = guest::btrfs::disk;
        return {disk::devices_object, disk::device_item, device};
    }
    static Key chunk_key(std::uint64_t logical) {
        namespace disk = guest::btrfs::disk;
        return {disk::chunks_object, disk::chunk_item, logical};
    }

    template <class T>
    static Bytes bytes_of_object(const T& value) {
        Bytes content(sizeof value);
        store(std::span(content), value);
        return content;
    }

    guest::btrfs::disk::DeviceItem device_item() const {
        guest::btrfs::disk::DeviceItem item{};
        item.id = device;
        item.total_bytes = bytes;
        item.bytes_used = 6 * MiB;
        item.uuid.fill(std::byte{3});
        item.fsid.fill(std::byte{7});
        return item;
    }

    Bytes chunk_item(std::uint64_t type, std::uint64_t length, std::span<const std::uint64_t> places) const {
        namespace disk = guest::btrfs::disk;
        disk::Chunk chunk{};
        chunk.length = length;
        chunk.owner = 2;
        chunk.stripe_length = disk::stripe_length;
        chunk.type = type;
        chunk.stripes = static_cast<std::uint16_t>(places.size());
        Bytes content = bytes_of_object(chunk);
        for (const std::uint64_t place : places) {
            const Bytes stripe = bytes_of_object(disk::Stripe{device, place, device_item().uuid});
            content.insert(content.end(), stripe.begin(), stripe.end());
        }
        return content;
    }
    Bytes system_item() const {
        namespace disk = guest::btrfs::disk;
        const std::uint64_t places[] = {system_chunk, system_copy};
        const std::uint64_t type = has_copy ? disk::system | disk::dup : std::uint64_t{disk::system};
        return chunk_item(type, MiB, std::span(places).first(has_copy ? 2 : 1));
    }
    Bytes data_item() const {
        const std::uint64_t places[] = {data_chunk};
        return chunk_item(guest::btrfs::disk::data, 4 * MiB, places);
    }
    Bytes metadata_item() const {
        const std::uint64_t places[] = {metadata_chunk};
        return chunk_item(guest::btrfs::disk::metadata, MiB, places);
    }
    std::vector<Item> items() const {
        return {{device_key(), bytes_of_object(device_item())},
                {chunk_key(system_chunk), system_item()},
                {chunk_key(data_chunk), data_item()},
                {chunk_key(metadata_chunk), metadata_item()}};
    }

    guest::btrfs::disk::Superblock superblock() const {
        namespace disk = guest::btrfs::disk;
        disk::Superblock s{};
        s.fsid.fill(std::byte{7});
        s.flags = disk::written;
        s.magic = disk::superblock_magic;
        s.generation = generation + 2;
        s.root = metadata_chunk;
        s.chunk_root = system_chunk;
        s.total_bytes = bytes;
        s.devices = 1;
        s.sector_bytes = 4096;
        s.node_bytes = s.leaf_bytes = node_bytes;
        s.chunk_root_generation = generation;
        s.compat_ro_flags = 0x3;
        s.incompat_flags = 0x361;
        s.checksum_type = checksum;
        s.chunk_root_level = static_cast<std::uint8_t>(levels - 1);
        s.device = device_item();
        s.backups[0].chunk_root = system_chunk;
        s.backups[0].total_bytes = s.backups[1].total_bytes = bytes;
        put_system_chunks(s, {{chunk_key(system_chunk), system_item()}});
        return s;
    }
    static void put_system_chunks(guest::btrfs::disk::Superblock& s, const std::vector<Item>& chunks) {
        std::size_t at = 0;
        for (const auto& [key, item] : chunks) {
            store(std::span(s.system_chunks).subspan(at), key);
            std::ranges::copy(item, s.system_chunks.begin() + static_cast<std::ptrdiff_t>(at + sizeof key));
            at += sizeof key + item.size();
        }
        s.system_chunks_bytes = static_cast<std::uint32_t>(at);
    }

    // With the right checksum.
    void put_superblock(guest::Volume& volume, std::uint64_t place, guest::btrfs::disk::Superblock s) const {
        s.place = place;
        Bytes block = bytes_of_object(s);
        seal(block);
        REQUIRE(volume.write(place, block));
    }
    void put_superblocks(guest::Volume& volume, const guest::btrfs::disk::Superblock& s) const {
        for (const std::uint64_t place : guest::btrfs::disk::superblocks_at) {
            if (place + guest::btrfs::disk::superblock_bytes < bytes) put_superblock(volume, place, s);
        }
    }

    guest::btrfs::disk::BlockHeader header(std::uint64_t logical, unsigned level, std::size_t count) const {
        namespace disk = guest::btrfs::disk;
        disk::BlockHeader h{};
        h.fsid.fill(std::byte{7});
        h.logical = logical;
        h.flags = disk::block_written | 1ull << 56;
        h.generation = generation;
        h.owner = disk::chunk_tree;
        h.items = static_cast<std::uint32_t>(count);
        h.level = static_cast<std::uint8_t>(level);
        return h;
    }
    Bytes leaf(std::uint64_t logical, const std::vector<Item>& content) const {
        namespace disk = guest::btrfs::disk;
        Bytes block(node_bytes);
        store(std::span(block), header(logical, 0, content.size()));
        const auto body = std::span(block).subspan(sizeof(disk::BlockHeader));
        std::size_t end = body.size();
        for (std::size_t i = 0; i < content.size(); ++i) {
            const auto& [key, item] = content[i];
            end -= item.size();
            store(body.subspan(i * sizeof(disk::Item)),
                  disk::Item{key, static_cast<std::uint32_t>(end), static_cast<std::uint32_t>(item.size())});
            std::ranges::copy(item, body.begin() + static_cast<std::ptrdiff_t>(end));
        }
        return block;
    }
    Bytes node(std::uint64_t logical, const std::vector<std::pair<Key, std::uint64_t>>& children) const {
        namespace disk = guest::btrfs::disk;
        Bytes block(node_bytes);
        store(std::span(block), header(logical, 1, children.size()));
        for (std::size_t i = 0; i < children.size(); ++i)
            store(std::span(block).subspan(sizeof(disk::BlockHeader) + i * sizeof(disk::BlockPointer)),
                  disk::BlockPointer{children[i].first, children[i].second, generation});
        return block;
    }

    // All copies, with the right checksum.
    void put_block(guest::Volume& volume, std::uint64_t logical, Bytes block) const {
        seal(block);
        REQUIRE(volume.write(logical, block));
        if (has_copy) REQUIRE(volume.write(logical - system_chunk + system_copy, block));
    }
    void put_tree(guest::Volume& volume, const std::vector<Item>& content) const {
        if (levels == 1) return put_block(volume, system_chunk, leaf(system_chunk, content));
        const std::uint64_t first = first_leaf(), second = first + node_bytes;
        put_block(volume, system_chunk,
                  node(system_chunk, {{content[0].first, first}, {content[2].first, second}}));
        put_block(volume, first, leaf(first, {content.begin(), content.begin() + 2}));
        put_block(volume, second, leaf(second, {content.begin() + 2, content.end()}));
    }
    // Where the device's item is.
    std::uint64_t first_leaf() const { return levels == 1 ? system_chunk : system_chunk + node_bytes; }

    void write_to(guest::Volume& volume) const {
        put_superblocks(volume, superblock());
        put_tree(volume, items());
        put_roots(volume, {{root_key(), root()}});
        put_devices(volume, {{Key{0, 249, device}, Bytes(40)}});
    }

    // The tree of roots: where that of devices is.
    static Key root_key() {
        namespace disk = guest::btrfs::disk;
        return {disk::device_tree, disk::root_item, 0};
    }
    Bytes root() const {
        guest::btrfs::disk::RootItem item{};
        item.generation = generation;
        item.logical = metadata_chunk + node_bytes;
        return bytes_of_object(item);
    }
    void put_roots(guest::Volume& volume, const std::vector<Item>& content) const {
        put_metadata(volume, metadata_chunk, guest::btrfs::disk::root_tree, superblock().generation, content);
    }
    void put_devices(guest::Volume& volume, const std::vector<Item>& content) const {
        put_metadata(volume, metadata_chunk + node_bytes, guest::btrfs::disk::device_tree, generation,
                     content);
    }
    // A leaf, outside of the chunk tree.
    void put_metadata(guest::Volume& volume, std::uint64_t logical, std::uint64_t owner,
                      std::uint64_t its_generation, const std::vector<Item>& content) const {
        Bytes block = leaf(logical, content);
        auto changed = load<guest::btrfs::disk::BlockHeader>(block);
        changed.owner = owner;
        changed.generation = its_generation;
        store(std::span(block), changed);
        seal(block);
        REQUIRE(volume.write(logical, block));
    }

    void seal(std::span<std::byte> block) const {
        const auto type = guest::btrfs::checksum_type(checksum);
        REQUIRE(type);
        const auto sum = guest::btrfs::checksum_of_block(*type, block);
        store(block, sum);
    }
};

}  // namespace qimg::test
