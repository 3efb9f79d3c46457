// A Volume in memory that is mostly zero, and fails when it shall.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <span>

#include "base/try.hpp"
#include "guest/volume.hpp"

namespace qimg::test {

class MemoryVolume : public guest::Volume {
  public:
    explicit MemoryVolume(std::uint64_t size) : size_(size) {}
    std::uint64_t size() const override { return size_; }
    void resize(std::uint64_t size) { size_ = size; }

    Result<void> read(std::uint64_t at, std::span<std::byte> into) const override {
        TRY(check(at, into.size()));
        for (std::size_t done = 0; done < into.size();) {
            const std::size_t offset = (at + done) % chunk_bytes;
            const std::size_t count = std::min(into.size() - done, chunk_bytes - offset);
            const auto part = into.subspan(done, count);
            const auto found = chunks_.find((at + done) / chunk_bytes);
            if (found == chunks_.end())
                std::ranges::fill(part, std::byte{0});
            else
                std::ranges::copy(std::span(found->second).subspan(offset, count), part.begin());
            done += count;
        }
        return {};
    }

    Result<void> write(std::uint64_t at, std::span<const std::byte> from) override {
        TRY(check(at, from.size()));
        if (calls_until_failure == 0) return fail(ErrorKind::no_space, "no space is left");
        if (calls_until_failure > 0) --calls_until_failure;
        bytes_written += from.size();
        for (std::size_t done = 0; done < from.size();) {
            const std::size_t offset = (at + done) % chunk_bytes;
            const std::size_t count = std::min(from.size() - done, chunk_bytes - offset);
            auto& chunk = chunks_[(at + done) / chunk_bytes];
            std::ranges::copy(from.subspan(done, count), chunk.begin() + static_cast<std::ptrdiff_t>(offset));
            done += count;
        }
        return {};
    }

    Result<void> write_zeroes(std::uint64_t at, std::uint64_t bytes) override {
        TRY(check(at, bytes));
        if (calls_until_failure == 0) return fail(ErrorKind::no_space, "no space is left");
        if (calls_until_failure > 0) --calls_until_failure;
        for (auto chunk = chunks_.lower_bound(at / chunk_bytes);
             chunk != chunks_.end() && chunk->first * chunk_bytes < at + bytes; ++chunk) {
            const std::uint64_t start = chunk->first * chunk_bytes;
            const std::uint64_t from = std::max(at, start), to = std::min(at + bytes, start + chunk_bytes);
            for (std::uint64_t i = from; i < to; ++i)
                chunk->second[i - start] = std::byte{0};
        }
        return {};
    }

    std::uint64_t bytes_written = 0;
    int calls_until_failure = -1;  // of writing; never when negative

  private:
    static constexpr std::size_t chunk_bytes = 1024;
    Result<void> check(std::uint64_t at, std::uint64_t bytes) const {
        if (at > size_ || bytes > size_ - at) return fail(ErrorKind::invalid_argument, "outside the volume");
        return {};
    }
    std::uint64_t size_;
    std::map<std::uint64_t, std::array<std::byte, chunk_bytes>> chunks_;
};

}  // namespace qimg::test
