// Digests of bytes: SHA-256, and CRC-64 for what only has to be noticed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace qimg {

using Digest = std::array<std::uint8_t, 32>;

// SHA-256 (FIPS 180-4) of bytes that come in pieces.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;

    void update(std::span<const std::byte> bytes);
    // Ends the digest; nothing can be added afterwards.
    Digest finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

// The first `digits` hexadecimal digits, in lower case; an even number, at most 64.
std::string hexadecimal(const Digest& digest, std::size_t digits);

// CRC-64/XZ, going on from that of the bytes before. A change of up to 64 bits in a row always changes it, any other one
// but for one chance in 2^64.
std::uint64_t crc64(std::span<const std::byte> bytes, std::uint64_t before = 0);

}  // namespace qimg
