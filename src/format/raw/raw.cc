// The raw format: every mapping is the identity.
// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw.hpp"

#include <algorithm>

#include "base/try.hpp"

namespace qimg::raw {

namespace {

HostRange host_range(GuestRange range) {
    return HostRange(HostOffset(range.start.bytes), range.length);
}

class Raw final : public Format {
  public:
    Raw(std::unique_ptr<Storage> storage, std::uint64_t size) : storage_(std::move(storage)), size_(size) {}

    std::string_view name() const override { return "raw"; }
    std::uint64_t size() const override { return size_; }
    const Storage& storage() const override { return *storage_; }
    Storage& data_storage() override { return *storage_; }
    const Storage& data_storage() const override { return *storage_; }
    std::uint64_t cluster_bytes() const override { return 1; }
    Result<void> describe(ImageInfo&) const override { return {}; }

    Result<Mapping> map(GuestRange range) const override {
        const StorageExtent extent = TRY(storage_->extent(HostOffset(range.start.bytes)));
        // what the last sector has more than the file reads as zeroes
        const std::uint64_t length =
            extent.length == 0 ? range.length : std::min(range.length, extent.length);
        return Mapping{GuestRange(range.start, length), extent.data ? MappingKind::data : MappingKind::zeroes,
                       HostOffset(range.start.bytes), true, 0};
    }

    Result<void> read_compressed(const Mapping&, std::uint64_t, std::span<std::byte>) const override {
        return fail(ErrorKind::unsupported, "raw images have no compressed clusters");
    }

    Result<Reservation> reserve(GuestRange range) override {
        return Reservation{range, HostOffset(range.start.bytes), false};
    }
    Result<void> publish(const Reservation&) override { return {}; }
    void cancel(const Reservation&) override {}

    Result<void> write_compressed(GuestOffset, std::span<const std::byte>) override {
        return fail(ErrorKind::unsupported, "raw images cannot hold compressed clusters");
    }

    Result<bool> zero(GuestRange range, bool keep_space) override {
        if (keep_space) return false;
        TRY(storage_->write_zeroes(host_range(range)));
        return true;
    }

    Result<void> discard(GuestRange range) override { return storage_->discard(host_range(range)); }
    Result<void> flush() override { return storage_->flush(); }

  private:
    std::unique_ptr<Storage> storage_;
    std::uint64_t size_;
};

}  // namespace

Result<std::unique_ptr<Format>> open(std::unique_ptr<Storage> storage) {
    const std::uint64_t bytes = TRY(storage->size());
    return std::make_unique<Raw>(std::move(storage), round_up(bytes, sector_bytes));
}

}  // namespace qimg::raw
