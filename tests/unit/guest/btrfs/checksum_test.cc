// Checksums are the published ones.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/checksum.hpp"

#include <doctest/doctest.h>

#include "base/bytes.hpp"

using namespace qimg;
using namespace qimg::guest;

TEST_CASE("xxhash64 is that of the specification, for every way that lengths take") {
    CHECK(btrfs::xxhash64({}) == 0xef46db3751d8e999);
    CHECK(btrfs::xxhash64(bytes_of("a")) == 0xd24ec4f1a98c6e5b);
    CHECK(btrfs::xxhash64(bytes_of("abc")) == 0x44bc2cf5ad770999);
    CHECK(btrfs::xxhash64(bytes_of("Nobody inspects the spammish repetition")) == 0xfbcea83c8a378bf1);
}

TEST_CASE("a checksum covers a block without itself, and is stored with the low byte first") {
    Bytes block(4096);
    block[0] = std::byte{77};
    const auto crc = btrfs::checksum_of_block(btrfs::ChecksumType::crc32c, block);
    CHECK(is_zero(std::span(crc).subspan(4)));
    CHECK(crc != btrfs::Checksum{});
    const auto xxhash = btrfs::checksum_of_block(btrfs::ChecksumType::xxhash64, block);
    CHECK(load<le64>(xxhash) == btrfs::xxhash64(std::span(block).subspan(32)));
    CHECK(is_zero(std::span(xxhash).subspan(8)));
    const auto sha = btrfs::checksum_of_block(btrfs::ChecksumType::sha256, block);
    CHECK_FALSE(is_zero(std::span(sha).subspan(24)));
    block[0] = std::byte{0};
    CHECK(btrfs::checksum_of_block(btrfs::ChecksumType::sha256, block) == sha);
    block[32] = std::byte{1};
    CHECK(btrfs::checksum_of_block(btrfs::ChecksumType::sha256, block) != sha);
}

TEST_CASE("checksums that are not computed have no type") {
    CHECK(btrfs::checksum_type(2) == btrfs::ChecksumType::sha256);
    CHECK_FALSE(btrfs::checksum_type(3));
    CHECK_FALSE(btrfs::checksum_type(65535));
}
