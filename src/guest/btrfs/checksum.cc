// XXH64 in full; the others are those of base.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/checksum.hpp"

#include <algorithm>
#include <bit>

#include "base/crc32c.hpp"
#include "base/digest.hpp"

namespace qimg::guest::btrfs {

namespace {

constexpr std::array<std::uint64_t, 5> primes = {0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9,
                                                 0x85ebca77c2b2ae63, 0x27d4eb2f165667c5};

std::uint64_t add_lane(std::uint64_t lane, std::uint64_t input) {
    return std::rotl(lane + input * primes[1], 31) * primes[0];
}

// The four lanes, of all whole 32 bytes, in one.
std::uint64_t merged_lanes(std::span<const std::byte> bytes) {
    std::array<std::uint64_t, 4> lanes = {primes[0] + primes[1], primes[1], 0, 0 - primes[0]};
    for (; bytes.size() >= 32; bytes = bytes.subspan(32)) {
        for (std::size_t i = 0; i < lanes.size(); ++i)
            lanes[i] = add_lane(lanes[i], load<le64>(bytes.subspan(8 * i)));
    }
    std::uint64_t hash =
        std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
    for (const std::uint64_t lane : lanes)
        hash = (hash ^ add_lane(0, lane)) * primes[0] + primes[3];
    return hash;
}

}  // namespace

std::uint64_t xxhash64(std::span<const std::byte> bytes) {
    std::uint64_t hash = bytes.size() >= 32 ? merged_lanes(bytes) : primes[4];
    hash += bytes.size();
    bytes = bytes.last(bytes.size() % 32);
    for (; bytes.size() >= 8; bytes = bytes.subspan(8))
        hash = std::rotl(hash ^ add_lane(0, load<le64>(bytes)), 27) * primes[0] + primes[3];
    if (bytes.size() >= 4) {
        hash = std::rotl(hash ^ load<le32>(bytes) * primes[0], 23) * primes[1] + primes[2];
        bytes = bytes.subspan(4);
    }
    for (const std::byte one : bytes)
        hash = std::rotl(hash ^ std::to_integer<std::uint64_t>(one) * primes[4], 11) * primes[0];
    hash = (hash ^ hash >> 33) * primes[1];
    hash = (hash ^ hash >> 29) * primes[2];
    return hash ^ hash >> 32;
}

std::optional<ChecksumType> checksum_type(std::uint16_t number) {
    switch (number) {
        case 0:
            return ChecksumType::crc32c;
        case 1:
            return ChecksumType::xxhash64;
        case 2:
            return ChecksumType::sha256;
        default:
            return std::nullopt;
    }
}

Checksum checksum_of_block(ChecksumType type, std::span<const std::byte> block) {
    const auto covered = block.subspan(disk::checksum_bytes);
    Checksum sum{};
    switch (type) {
        case ChecksumType::crc32c:
            store(std::span(sum), le32(~crc32c(~0u, covered)));
            break;
        case ChecksumType::xxhash64:
            store(std::span(sum), le64(xxhash64(covered)));
            break;
        case ChecksumType::sha256: {
            Sha256 digest;
            digest.update(covered);
            store(std::span(sum), digest.finish());
            break;
        }
    }
    return sum;
}

}  // namespace qimg::guest::btrfs
