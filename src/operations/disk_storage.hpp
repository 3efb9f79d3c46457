// The disk of an image, as guests see it, as a storage: for what knows bytes at offsets and nothing of images.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "base/try.hpp"
#include "format/format.hpp"
#include "operations/padded_read.hpp"
#include "operations/resize_disk.hpp"
#include "qimg/image.hpp"
#include "qimg/storage.hpp"

namespace qimg {

// A view of an image that must outlive it. Host offsets are the guest's.
class DiskStorage final : public Storage {
  public:
    explicit DiskStorage(Image& image) : image_(image) {}

    const std::string& name() const override { return image_.path(); }
    Result<std::uint64_t> size() const override { return image_.size(); }
    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        return read_padded(image_, GuestOffset(at.bytes), into);
    }
    Result<void> write(HostOffset at, std::span<const std::byte> from) override {
        return image_.write(GuestOffset(at.bytes), from);
    }
    Result<void> write_zeroes(HostRange range) override { return image_.write_zeroes(guest(range)); }
    Result<void> discard(HostRange range) override { return image_.discard(guest(range)); }
    Result<void> allocate(HostRange) override {
        return fail(ErrorKind::unsupported, "Space inside an image is not allocated in advance");
    }
    // Errors: those of lengthen_disk().
    Result<void> resize(std::uint64_t bytes) override { return lengthen_disk(image_, bytes); }
    Result<void> flush() override { return image_.flush(); }
    Result<StorageExtent> extent(HostOffset at) const override {
        return StorageExtent{image_.size() - std::min(image_.size(), at.bytes), at.bytes < image_.size()};
    }
    Result<std::uint64_t> allocated_bytes() const override {
        return image_.format().storage().allocated_bytes();
    }
    // The image file's.
    std::optional<FileIdentity> identity() const override { return image_.format().storage().identity(); }

  private:
    static GuestRange guest(HostRange range) { return {GuestOffset(range.start.bytes), range.length}; }

    Image& image_;
};

}  // namespace qimg
