// The heap for what is small, pages of the system for what holds a huge one.
// SPDX-License-Identifier: Apache-2.0
#include "base/zeroed_memory.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "qimg/units.hpp"

namespace qimg {

namespace {

// Of x86-64, and of arm64 with pages of 4 KiB; where they are larger nothing is lost.
constexpr std::size_t huge_page_bytes = 2 * MiB;

bool is_mapped(std::size_t bytes) {
    return bytes >= huge_page_bytes;
}

// The system places mappings anywhere: one that is too long has an aligned part.
std::byte* map_aligned(std::size_t bytes) {
    const std::size_t all = bytes + huge_page_bytes;
    void* const got = ::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) throw std::bad_alloc();
    auto* const begin = static_cast<std::byte*>(got);
    const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % huge_page_bytes;
    if (before != 0) ::munmap(begin, before);
    ::munmap(begin + before + bytes, huge_page_bytes - before);
    // only a hint
    (void)::madvise(begin + before, bytes, MADV_HUGEPAGE);
    return begin + before;
}

std::byte* from_heap(std::size_t bytes) {
    void* const got = std::calloc(1, bytes);
    if (got == nullptr) throw std::bad_alloc();
    return static_cast<std::byte*>(got);
}

}  // namespace

ZeroedMemory::ZeroedMemory(std::size_t bytes) : bytes_(round_up(bytes, is_mapped(bytes) ? 4 * KiB : 1)) {
    memory_ = is_mapped(bytes) ? map_aligned(bytes_) : from_heap(bytes_);
}

ZeroedMemory::~ZeroedMemory() {
    if (is_mapped(bytes_)) {
        ::munmap(memory_, bytes_);
    } else {
        std::free(memory_);
    }
}

}  // namespace qimg
