// ZeroedMemory: zero-filled memory that is used whole, in huge pages where the system has some: what is gone
// through once takes as long to be handed out, page by page, as to be worked on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace qimg {

class ZeroedMemory {
  public:
    ZeroedMemory() = default;
    // Throws std::bad_alloc when there is none, as `new` does.
    explicit ZeroedMemory(std::size_t bytes);
    ZeroedMemory(ZeroedMemory&& other) noexcept
        : memory_(std::exchange(other.memory_, {})), bytes_(std::exchange(other.bytes_, 0)) {}
    ZeroedMemory& operator=(ZeroedMemory&& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~ZeroedMemory();

    // Aligned for any fundamental type.
    std::byte* data() const { return memory_; }
    std::size_t size() const { return bytes_; }

  private:
    std::byte* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace qimg
