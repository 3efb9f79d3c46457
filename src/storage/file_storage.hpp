// A storage on a file descriptor; open_file and create_file differ in how they get one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "base/fd.hpp"
#include "qimg/storage.hpp"

namespace qimg {

// `Base` is Storage, or NewFile for a file that does not have its name yet.
template <class Base>
class FileStorage : public Base {
  public:
    FileStorage(Fd descriptor, std::string name) : fd_(std::move(descriptor)), name_(std::move(name)) {}

    const std::string& name() const override { return name_; }
    Result<std::uint64_t> size() const override;
    Result<void> read(HostOffset at, std::span<std::byte> into) const override;
    Result<void> write(HostOffset at, std::span<const std::byte> from) override;
    Result<void> write_zeroes(HostRange range) override;
    Result<void> discard(HostRange range) override;
    Result<void> allocate(HostRange range) override;
    Result<void> resize(std::uint64_t bytes) override;
    Result<void> flush() override;
    void start_writeback(HostRange range) override;
    Result<StorageExtent> extent(HostOffset at) const override;
    Result<std::uint64_t> allocated_bytes() const override;
    std::optional<FileIdentity> identity() const override;
    std::optional<FileTime> modified() const override;
    std::optional<int> descriptor() const override { return fd_.get(); }
    Result<bool> share_from(int source, HostRange range, HostOffset at) override;

  protected:
    Fd fd_;
    std::string name_;

  private:
    // Since the last flush; at first by others, for all that is known. Threads write while others flush.
    std::atomic<bool> changed_ = true;
    std::mutex flushing_;
};

extern template class FileStorage<Storage>;
extern template class FileStorage<NewFile>;

}  // namespace qimg
