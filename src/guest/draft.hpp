// A disk as it is to become: an image with changes that are kept aside until all of them are made. Knows how much of
// them memory may hold; bringing them to the image is left to others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "guest/volume.hpp"
#include "qimg/image.hpp"
#include "qimg/storage.hpp"

namespace qimg::guest {

// A run of bytes that differs from the image, or may.
struct Change {
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
    bool zeroes = false;  // it was written by write_zeroes()
};

class Draft final : public Volume {
  public:
    // Opens a file for what is too much for memory.
    using OpenSpill = std::function<Result<std::unique_ptr<Storage>>()>;

    static constexpr std::uint64_t memory_bytes_max = 16 * MiB;

    // A disk of `bytes`, at least as long as that of `image`, which must outlive it and stay as it is; what is
    // behind the image's end reads as zeroes.
    Draft(const Image& image, std::uint64_t bytes, OpenSpill spill);

    std::uint64_t size() const override { return bytes_; }
    Result<void> read(std::uint64_t at, std::span<std::byte> into) const override;
    Result<void> write(std::uint64_t at, std::span<const std::byte> from) override;
    Result<void> write_zeroes(std::uint64_t at, std::uint64_t bytes) override;

    // By offset, neither overlapping nor, where they are alike, touching.
    std::vector<Change> changes() const;

  private:
    using Slot = std::uint64_t;  // where the content of a page is: in memory first, then in the file

    Result<void> check_range(std::uint64_t at, std::uint64_t bytes) const;
    Result<void> read_image(std::uint64_t at, std::span<std::byte> into) const;
    Result<void> read_page(Slot slot, std::uint64_t skip, std::span<std::byte> into) const;
    Result<void> write_page(std::uint64_t page, std::span<const std::byte> content);
    Result<void> write_inside(std::uint64_t page, std::uint64_t skip, std::span<const std::byte> from);
    Result<Storage*> spill();
    void forget_pages(std::uint64_t first, std::uint64_t end);
    void add_zeroes(std::uint64_t start, std::uint64_t end);

    const Image& image_;
    std::uint64_t bytes_;
    OpenSpill open_spill_;
    std::unique_ptr<Storage> memory_;
    std::unique_ptr<Storage> spill_;
    std::map<std::uint64_t, Slot> pages_;  // by number
    std::map<std::uint64_t, std::uint64_t>
        zeroes_;  // whole pages that read as zeroes but for pages_: start, end
    std::vector<Slot> free_;
    Slot next_ = 0;
};

}  // namespace qimg::guest
