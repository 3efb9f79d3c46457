// AddressSanitizer's allocator tells of every block.
// SPDX-License-Identifier: Apache-2.0
#include "heap_limit.hpp"

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#define QIMG_COUNTS_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QIMG_COUNTS_HEAP 1
#endif
#endif

#ifdef QIMG_COUNTS_HEAP
// g++ has them without the header that declares them
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_allocation)(const volatile void*,
                                                                               std::size_t),
                                                         void (*on_release)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* block);
#endif

namespace qimg::fuzz {

namespace {

std::atomic<bool> is_counting;
std::atomic<std::int64_t> held;
std::atomic<std::int64_t> held_max;

#ifdef QIMG_COUNTS_HEAP

void count_allocation(const volatile void*, std::size_t bytes) {
    if (!is_counting) return;
    const std::int64_t now = held += static_cast<std::int64_t>(bytes);
    if (now <= held_max) return;
    is_counting = false;
    std::fprintf(stderr, "does not hold: a limit of memory; %lld bytes are held\n",
                 static_cast<long long>(now));
    std::abort();
}

void count_release(const volatile void* block) {
    if (!is_counting || block == nullptr) return;
    held -= static_cast<std::int64_t>(__sanitizer_get_allocated_size(block));
}

const bool are_hooks_installed =
    __sanitizer_install_malloc_and_free_hooks(count_allocation, count_release) != 0;

#else

constexpr bool are_hooks_installed = true;

#endif

}  // namespace

HeapLimit::HeapLimit(std::uint64_t bytes) {
    if (!are_hooks_installed) std::abort();
    held = 0;
    held_max = static_cast<std::int64_t>(bytes);
    is_counting = true;
}

HeapLimit::~HeapLimit() {
    is_counting = false;
}

}  // namespace qimg::fuzz
