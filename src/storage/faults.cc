// Failing on purpose.
// SPDX-License-Identifier: Apache-2.0
#include "storage/faults.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg {

namespace {

class FaultyStorage final : public Storage {
  public:
    FaultyStorage(std::unique_ptr<Storage> storage, std::vector<Fault> faults)
        : storage_(std::move(storage)), faults_(std::move(faults)) {}

    const std::string& name() const override { return storage_->name(); }
    Result<std::uint64_t> size() const override { return storage_->size(); }
    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        TRY(faults_.check(Fault::Operation::read, at.bytes, into.size()));
        return storage_->read(at, into);
    }
    Result<void> write(HostOffset at, std::span<const std::byte> from) override {
        TRY(faults_.check(Fault::Operation::write, at.bytes, from.size()));
        return storage_->write(at, from);
    }
    Result<void> write_zeroes(HostRange range) override {
        TRY(faults_.check(Fault::Operation::write, range.start.bytes, range.length));
        return storage_->write_zeroes(range);
    }
    Result<void> discard(HostRange range) override { return storage_->discard(range); }
    Result<void> allocate(HostRange range) override { return storage_->allocate(range); }
    Result<void> resize(std::uint64_t bytes) override { return storage_->resize(bytes); }
    Result<void> flush() override {
        TRY(faults_.check(Fault::Operation::flush, 0, 0));
        return storage_->flush();
    }
    void start_writeback(HostRange range) override { storage_->start_writeback(range); }
    Result<StorageExtent> extent(HostOffset at) const override { return storage_->extent(at); }
    Result<std::uint64_t> allocated_bytes() const override { return storage_->allocated_bytes(); }

  private:
    std::unique_ptr<Storage> storage_;
    mutable Faults faults_;
};

}  // namespace

Result<void> Faults::check(Fault::Operation operation, std::uint64_t start, std::uint64_t length) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(faults_.begin(), faults_.end(), [&](const Fault& fault) {
        const bool touched = !fault.offset || (*fault.offset >= start && *fault.offset - start < length);
        return fault.operation == operation && touched;
    });
    if (found == faults_.end()) return {};
    const int error_number = found->error_number;
    if (found->once) faults_.erase(found);
    return fail(ErrorKind::io, errno_text(error_number), error_number);
}

std::unique_ptr<Storage> faulty_storage(std::unique_ptr<Storage> storage, std::vector<Fault> faults) {
    if (faults.empty()) return storage;
    return std::make_unique<FaultyStorage>(std::move(storage), std::move(faults));
}

}  // namespace qimg
