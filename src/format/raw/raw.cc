// The raw format: guest byte n is byte n of the file, or of a part of it.
// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::raw {

namespace {

class Raw final : public Format {
  public:
    Raw(std::unique_ptr<Storage> storage, const RawOptions& options, std::uint64_t size)
        : storage_(std::move(storage)), options_(options), size_(size) {}

    std::string_view name() const override { return "raw"; }
    std::uint64_t size() const override { return size_; }
    const Storage& storage() const override { return *storage_; }
    Storage& data_storage() override { return *storage_; }
    const Storage& data_storage() const override { return *storage_; }
    std::uint64_t cluster_bytes() const override { return 1; }
    Result<void> describe(ImageInfo&) const override { return {}; }

    Result<Mapping> map(GuestRange range) const override {
        const HostOffset host = host_of(range.start);
        const StorageExtent extent = TRY(storage_->extent(host));
        const std::uint64_t known =
            options_.whole_sectors ? round_up(extent.length, sector_bytes) : extent.length;
        // what the last sector has more than the file reads as zeroes
        const std::uint64_t length = extent.length == 0 ? range.length : std::min(range.length, known);
        return Mapping{GuestRange(range.start, length), extent.data ? MappingKind::data : MappingKind::zeroes,
                       host, true, 0};
    }

    Result<void> read_compressed(const Mapping&, std::uint64_t, std::span<std::byte>) const override {
        return fail(ErrorKind::unsupported, "raw images have no compressed clusters");
    }

    Result<Reservation> reserve(GuestRange range) override {
        return Reservation{range, host_of(range.start), false};
    }
    Result<void> publish(const Reservation&) override { return {}; }
    void cancel(const Reservation&) override {}

    Result<void> write_compressed(GuestOffset, std::span<const std::byte>) override {
        return fail(ErrorKind::unsupported, "raw images cannot hold compressed clusters");
    }

    Result<HostOffset> publish_compressed(GuestOffset, std::uint64_t) override {
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
    HostOffset host_of(GuestOffset at) const { return HostOffset(options_.start) + at.bytes; }
    HostRange host_range(GuestRange range) const { return {host_of(range.start), range.length}; }

    std::unique_ptr<Storage> storage_;
    RawOptions options_;
    std::uint64_t size_;
};

}  // namespace

Result<std::unique_ptr<Format>> open(std::unique_ptr<Storage> storage, const RawOptions& options) {
    const std::uint64_t bytes = TRY(storage->size());
    if (options.start > bytes) {
        return failf(ErrorKind::invalid_argument,
                     "Offset ({}) cannot be greater than size of the containing file ({})", options.start,
                     bytes);
    }
    if (options.bytes && !is_aligned(*options.bytes, sector_bytes)) {
        return failf(ErrorKind::invalid_argument, "Specified size is not multiple of {}", sector_bytes);
    }
    if (options.bytes && *options.bytes > bytes - options.start) {
        return failf(ErrorKind::invalid_argument,
                     "The sum of offset ({}) and size ({}) has to be smaller or equal to the  actual size of "
                     "the containing file ({})",
                     options.start, *options.bytes, bytes);
    }
    const std::uint64_t size = options.bytes.value_or(round_up(bytes - options.start, sector_bytes));
    return std::make_unique<Raw>(std::move(storage), options, size);
}

}  // namespace qimg::raw
