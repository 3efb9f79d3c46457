// Rules for chunks of a file system on one device.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/chunks.hpp"

#include <algorithm>
#include <bit>

#include "base/checked.hpp"
#include "base/try.hpp"

namespace qimg::guest::btrfs {

namespace {

// On one device: as it is, RAID0 of one stripe, which is the same, or two copies. 0: none of these.
std::size_t copies_of(std::uint64_t type) {
    switch (type & ~std::uint64_t{disk::purposes}) {
        case 0:
        case disk::raid0:
            return 1;
        case disk::dup:
            return 2;
        default:
            return 0;
    }
}

bool do_overlap(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b, std::uint64_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

bool do_overlap(const Chunk& a, const Chunk& b) {
    if (do_overlap(a.logical, a.length, b.logical, b.length)) return true;
    return std::ranges::any_of(a.copies, [&](std::uint64_t one) {
        return std::ranges::any_of(
            b.copies, [&](std::uint64_t other) { return do_overlap(one, a.length, other, b.length); });
    });
}

}  // namespace

std::vector<std::uint64_t> Chunk::places_of(std::uint64_t address) const {
    std::vector<std::uint64_t> places = copies;
    for (std::uint64_t& place : places)
        place += address - logical;
    return places;
}

const Chunk* find_chunk(std::span<const Chunk> chunks, std::uint64_t start, std::uint64_t bytes) {
    const auto chunk =
        std::ranges::find_if(chunks, [&](const Chunk& one) { return one.contains(start, bytes); });
    return chunk == chunks.end() ? nullptr : &*chunk;
}

Result<Chunk> parse_chunk(const Superblock& superblock, std::uint64_t logical,
                          std::span<const std::byte> item) {
    const disk::Superblock& super = superblock.raw;
    if (item.size() < sizeof(disk::Chunk)) return broken("the length of a chunk item");
    const auto raw = load<disk::Chunk>(item);
    const std::size_t copies = copies_of(raw.type);
    if (copies == 0 || raw.stripes != copies || (raw.type & disk::purposes) == 0)
        return broken("a chunk of a type that one device cannot have");
    if (item.size() != sizeof(disk::Chunk) + copies * sizeof(disk::Stripe))
        return broken("the length of a chunk item");
    if (raw.length == 0 || raw.length % super.sector_bytes != 0 || logical % super.sector_bytes != 0 ||
        raw.stripe_length != disk::stripe_length || !checked_add(logical, raw.length))
        return broken("the addresses of a chunk");
    Chunk chunk{logical, raw.length, raw.type, {}};
    for (std::size_t i = 0; i < copies; ++i) {
        const auto stripe = load<disk::Stripe>(item.subspan(sizeof(disk::Chunk) + i * sizeof(disk::Stripe)));
        if (stripe.device != super.device.id || stripe.device_uuid != super.device.uuid)
            return broken("a chunk on another device");
        if (stripe.offset % super.sector_bytes != 0 ||
            !fits_within(stripe.offset, raw.length, superblock.device_bytes()))
            return broken("a chunk outside the device");
        chunk.copies.push_back(stripe.offset);
    }
    if (copies == 2 && do_overlap(chunk.copies[0], raw.length, chunk.copies[1], raw.length))
        return broken("copies of a chunk on each other");
    return chunk;
}

Result<std::vector<Chunk>> read_system_chunks(const Superblock& superblock) {
    const disk::Superblock& super = superblock.raw;
    std::span<const std::byte> rest = std::span(super.system_chunks).first(super.system_chunks_bytes);
    std::vector<Chunk> chunks;
    while (!rest.empty()) {
        if (rest.size() < sizeof(disk::Key) + sizeof(disk::Chunk)) return broken("its system chunks");
        const auto key = load<disk::Key>(rest);
        rest = rest.subspan(sizeof(disk::Key));
        const std::size_t stripes = load<disk::Chunk>(rest).stripes;
        const std::size_t bytes = sizeof(disk::Chunk) + stripes * sizeof(disk::Stripe);
        if (key.object != disk::chunks_object || key.type != disk::chunk_item || bytes > rest.size())
            return broken("its system chunks");
        Chunk chunk = TRY(parse_chunk(superblock, key.offset, rest.first(bytes)));
        if ((chunk.type & disk::system) == 0) return broken("its system chunks");
        if (std::ranges::any_of(chunks, [&](const Chunk& other) { return do_overlap(chunk, other); }))
            return broken("system chunks on each other");
        chunks.push_back(std::move(chunk));
        rest = rest.subspan(bytes);
    }
    return chunks;
}

}  // namespace qimg::guest::btrfs
