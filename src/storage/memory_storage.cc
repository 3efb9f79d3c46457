// A storage in memory: for tests and for images that are built before they are written.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.hpp"
#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "qimg/storage.hpp"

namespace qimg {

namespace {

// A table entry in a hostile image may ask for any offset; memory is not the place for what a file could hold.
constexpr std::uint64_t memory_bytes_max = 256 * MiB;

class MemoryStorage final : public Storage {
  public:
    explicit MemoryStorage(std::string name) : name_(std::move(name)) {}

    const std::string& name() const override { return name_; }
    Result<std::uint64_t> size() const override { return bytes_.size(); }

    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        const std::size_t available =
            at.bytes < bytes_.size() ? std::min<std::size_t>(into.size(), bytes_.size() - at.bytes) : 0;
        if (available != 0) std::memcpy(into.data(), bytes_.data() + at.bytes, available);
        std::fill(into.begin() + static_cast<std::ptrdiff_t>(available), into.end(), std::byte{0});
        return {};
    }

    Result<void> write(HostOffset at, std::span<const std::byte> from) override {
        TRY(grow(HostRange(at, from.size())));
        if (!from.empty()) std::memcpy(bytes_.data() + at.bytes, from.data(), from.size());
        return {};
    }

    Result<void> write_zeroes(HostRange range) override {
        TRY(grow(range));
        clear(range);
        return {};
    }

    Result<void> discard(HostRange range) override {
        clear(intersection(range, HostRange(HostOffset(0), bytes_.size())));
        return {};
    }

    Result<void> allocate(HostRange range) override { return grow(range); }

    Result<void> resize(std::uint64_t bytes) override {
        if (bytes > memory_bytes_max) return too_large();
        bytes_.resize(bytes);
        return {};
    }

    Result<void> flush() override { return {}; }

    Result<StorageExtent> extent(HostOffset at) const override {
        return StorageExtent{at.bytes < bytes_.size() ? bytes_.size() - at.bytes : 0,
                             at.bytes < bytes_.size()};
    }

    Result<std::uint64_t> allocated_bytes() const override { return bytes_.size(); }

  private:
    std::unexpected<Error> too_large() const {
        return failf(ErrorKind::no_space, "{}: would exceed {} MiB of memory", name_, memory_bytes_max / MiB);
    }
    Result<void> grow(HostRange range) {
        if (!fits_within(range.start.bytes, range.length, memory_bytes_max)) return too_large();
        if (range.end().bytes > bytes_.size()) bytes_.resize(range.end().bytes);
        return {};
    }
    void clear(HostRange range) {
        if (!range.empty()) std::memset(bytes_.data() + range.start.bytes, 0, range.length);
    }

    std::string name_;
    Bytes bytes_;
};

}  // namespace

std::unique_ptr<Storage> memory_storage(std::string name) {
    return std::make_unique<MemoryStorage>(std::move(name));
}

}  // namespace qimg
