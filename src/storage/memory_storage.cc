// A storage in memory: for tests and for images that are built before they are written.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.hpp"
#include "qimg/storage.hpp"

namespace qimg {

namespace {

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
        grow(at.bytes + from.size());
        if (!from.empty()) std::memcpy(bytes_.data() + at.bytes, from.data(), from.size());
        return {};
    }

    Result<void> write_zeroes(HostRange range) override {
        grow(range.end().bytes);
        clear(range);
        return {};
    }

    Result<void> discard(HostRange range) override {
        clear(intersection(range, HostRange(HostOffset(0), bytes_.size())));
        return {};
    }

    Result<void> allocate(HostRange range) override {
        grow(range.end().bytes);
        return {};
    }

    Result<void> resize(std::uint64_t bytes) override {
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
    void grow(std::uint64_t bytes) {
        if (bytes > bytes_.size()) bytes_.resize(bytes);
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
