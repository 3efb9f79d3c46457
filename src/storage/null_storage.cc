// A storage that is all zeroes and takes no space.
// SPDX-License-Identifier: Apache-2.0
#include "storage/null_storage.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace qimg {

namespace {

class NullStorage final : public Storage {
  public:
    NullStorage(std::uint64_t bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

    const std::string& name() const override { return name_; }
    Result<std::uint64_t> size() const override { return bytes_; }
    Result<void> read(HostOffset, std::span<std::byte> into) const override {
        std::fill(into.begin(), into.end(), std::byte{0});
        return {};
    }
    Result<void> write(HostOffset, std::span<const std::byte>) override { return {}; }
    Result<void> write_zeroes(HostRange) override { return {}; }
    Result<void> discard(HostRange) override { return {}; }
    Result<void> allocate(HostRange) override { return {}; }
    Result<void> resize(std::uint64_t bytes) override {
        if (bytes == bytes_) return {};
        return failf(ErrorKind::unsupported, "{}: cannot change its size", printable(name_));
    }
    Result<void> flush() override { return {}; }
    Result<StorageExtent> extent(HostOffset at) const override {
        return StorageExtent{bytes_ - std::min(bytes_, at.bytes), false};
    }
    Result<std::uint64_t> allocated_bytes() const override { return 0; }

  private:
    std::uint64_t bytes_;
    std::string name_;
};

}  // namespace

std::unique_ptr<Storage> null_storage(std::uint64_t bytes, std::string name) {
    return std::make_unique<NullStorage>(bytes, std::move(name));
}

}  // namespace qimg
