// A storage in memory that is told by an inode, as a file is: a view of another one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qimg/storage.hpp"

namespace qimg::test {

// A file in memory that has an inode.
class NumberedFile final : public Storage {
  public:
    static constexpr std::uint64_t usual = 4711;

    explicit NumberedFile(Storage& file, std::uint64_t number = usual) : file_(file), number_(number) {}

    const std::string& name() const override { return file_.name(); }
    Result<std::uint64_t> size() const override { return file_.size(); }
    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        return file_.read(at, into);
    }
    Result<void> write(HostOffset at, std::span<const std::byte> from) override {
        return file_.write(at, from);
    }
    Result<void> write_zeroes(HostRange range) override { return file_.write_zeroes(range); }
    Result<void> discard(HostRange range) override { return file_.discard(range); }
    Result<void> allocate(HostRange range) override { return file_.allocate(range); }
    Result<void> resize(std::uint64_t bytes) override { return file_.resize(bytes); }
    Result<void> flush() override { return file_.flush(); }
    Result<StorageExtent> extent(HostOffset at) const override { return file_.extent(at); }
    Result<std::uint64_t> allocated_bytes() const override { return file_.allocated_bytes(); }
    std::optional<FileIdentity> identity() const override { return FileIdentity{1, number_}; }

  private:
    Storage& file_;
    std::uint64_t number_;
};

}  // namespace qimg::test
