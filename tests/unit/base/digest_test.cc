// Digests are the published ones.
// SPDX-License-Identifier: Apache-2.0
#include "base/digest.hpp"

#include <doctest/doctest.h>

#include "base/bytes.hpp"
#include "base/crc32c.hpp"

using namespace qimg;

TEST_CASE("sha-256 is that of FIPS 180-4, in one piece or several") {
    const std::string expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    Sha256 whole;
    whole.update(bytes_of("abc"));
    CHECK(hexadecimal(whole.finish(), 64) == expected);
    Sha256 pieces;
    pieces.update(bytes_of("a"));
    pieces.update({});
    pieces.update(bytes_of("bc"));
    CHECK(hexadecimal(pieces.finish(), 64) == expected);
}

TEST_CASE("crc-64 is that of xz") {
    CHECK(crc64(bytes_of("123456789")) == 0x995dc9bbdf1939fa);
    CHECK(crc64({}) == 0);
    CHECK(crc64(bytes_of("56789"), crc64(bytes_of("1234"))) == 0x995dc9bbdf1939fa);
}

TEST_CASE("crc-64 of much is that of its pieces, for which no library is loaded") {
    Bytes bytes(100'003);
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<std::byte>(i * i >> 3);
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at < bytes.size(); at += 997)
        sum = crc64(std::span(bytes).subspan(at, std::min<std::size_t>(997, bytes.size() - at)), sum);
    CHECK(crc64(bytes) == sum);
}

TEST_CASE("crc-32c is that of RFC 3720, in one piece or several") {
    CHECK(~crc32c(~0u, bytes_of("123456789")) == 0xe3069283);
    CHECK(~crc32c(~0u, Bytes(32)) == 0x8a9136aa);
    CHECK(crc32c(crc32c(~0u, bytes_of("1234")), bytes_of("56789")) == crc32c(~0u, bytes_of("123456789")));
}
