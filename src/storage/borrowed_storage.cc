// A storage that belongs to someone else.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/storage.hpp"

namespace qimg {

namespace {

class BorrowedStorage final : public Storage {
  public:
    explicit BorrowedStorage(Storage& owner) : owner_(owner) {}

    const std::string& name() const override { return owner_.name(); }
    Result<std::uint64_t> size() const override { return owner_.size(); }
    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        return owner_.read(at, into);
    }
    Result<void> write(HostOffset at, std::span<const std::byte> from) override {
        return owner_.write(at, from);
    }
    Result<void> write_zeroes(HostRange range) override { return owner_.write_zeroes(range); }
    Result<void> discard(HostRange range) override { return owner_.discard(range); }
    Result<void> allocate(HostRange range) override { return owner_.allocate(range); }
    Result<void> resize(std::uint64_t bytes) override { return owner_.resize(bytes); }
    Result<void> flush() override { return owner_.flush(); }
    void start_writeback(HostRange range) override { owner_.start_writeback(range); }
    Result<StorageExtent> extent(HostOffset at) const override { return owner_.extent(at); }
    Result<std::uint64_t> allocated_bytes() const override { return owner_.allocated_bytes(); }
    std::optional<FileTime> modified() const override { return owner_.modified(); }
    std::optional<int> descriptor() const override { return owner_.descriptor(); }
    Result<bool> share_from(int source, HostRange range, HostOffset at) override {
        return owner_.share_from(source, range, at);
    }

  private:
    Storage& owner_;
};

}  // namespace

std::unique_ptr<Storage> borrow_storage(Storage& owner) {
    return std::make_unique<BorrowedStorage>(owner);
}

}  // namespace qimg
