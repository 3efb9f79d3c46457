// A disk as its guest sees it, or a part of one: what partition tables and file systems are read from and written
// to. Knows neither images nor what the bytes mean.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qimg/error.hpp"

namespace qimg::guest {

// Offsets and lengths in bytes. A range that does not lie inside size() is invalid_argument; other errors are io.
class Volume {
  public:
    virtual ~Volume() = default;
    virtual std::uint64_t size() const = 0;
    virtual Result<void> read(std::uint64_t at, std::span<std::byte> into) const = 0;
    virtual Result<void> write(std::uint64_t at, std::span<const std::byte> from) = 0;
    // The range reads as zeroes afterwards, at no cost in space where that is possible.
    virtual Result<void> write_zeroes(std::uint64_t at, std::uint64_t bytes) = 0;
};

}  // namespace qimg::guest
