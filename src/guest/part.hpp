// A part of a volume as a volume of its own: what lies in one partition.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/checked.hpp"
#include "guest/volume.hpp"

namespace qimg::guest {

class Part final : public Volume {
  public:
    // The part must lie inside `whole`, which must outlive it.
    Part(Volume& whole, std::uint64_t start, std::uint64_t bytes)
        : whole_(whole), start_(start), bytes_(bytes) {}

    std::uint64_t size() const override { return bytes_; }
    Result<void> read(std::uint64_t at, std::span<std::byte> into) const override {
        if (!fits_within(at, into.size(), bytes_)) return outside();
        return whole_.read(start_ + at, into);
    }
    Result<void> write(std::uint64_t at, std::span<const std::byte> from) override {
        if (!fits_within(at, from.size(), bytes_)) return outside();
        return whole_.write(start_ + at, from);
    }
    Result<void> write_zeroes(std::uint64_t at, std::uint64_t bytes) override {
        if (!fits_within(at, bytes, bytes_)) return outside();
        return whole_.write_zeroes(start_ + at, bytes);
    }

  private:
    static std::unexpected<Error> outside() {
        return fail(ErrorKind::invalid_argument, "a range goes past the end of the partition");
    }

    Volume& whole_;
    std::uint64_t start_;
    std::uint64_t bytes_;
};

}  // namespace qimg::guest
