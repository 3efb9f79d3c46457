// A storage as a disk for the parts of src/guest.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/checked.hpp"
#include "base/try.hpp"
#include "guest/volume.hpp"
#include "qimg/storage.hpp"

namespace qimg::test {

class StorageVolume final : public guest::Volume {
  public:
    explicit StorageVolume(std::unique_ptr<Storage> storage)
        : storage_(std::move(storage)), bytes_(storage_->size().value()) {}

    std::uint64_t size() const override { return bytes_; }
    Result<void> read(std::uint64_t at, std::span<std::byte> into) const override {
        TRY(check(at, into.size()));
        return storage_->read(HostOffset(at), into);
    }
    Result<void> write(std::uint64_t at, std::span<const std::byte> from) override {
        TRY(check(at, from.size()));
        return storage_->write(HostOffset(at), from);
    }
    Result<void> write_zeroes(std::uint64_t at, std::uint64_t bytes) override {
        TRY(check(at, bytes));
        return storage_->write_zeroes(HostRange(HostOffset(at), bytes));
    }
    // Longer from now on; what is added reads as zeroes.
    void grow_to(std::uint64_t bytes) { bytes_ = bytes; }
    Storage& storage() { return *storage_; }

  private:
    Result<void> check(std::uint64_t at, std::uint64_t bytes) const {
        if (fits_within(at, bytes, bytes_)) return {};
        return fail(ErrorKind::invalid_argument, "past the end of the disk");
    }

    std::unique_ptr<Storage> storage_;
    std::uint64_t bytes_;
};

}  // namespace qimg::test
