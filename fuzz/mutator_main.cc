// libFuzzer's way into Qcow2Mutator, for the targets that take images.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qcow2_mutator.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t bytes_max);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t bytes_max,
                                               unsigned seed) {
    // bytes that no rule leads to are changed, too
    if (seed % 8 == 0) return LLVMFuzzerMutate(data, size, bytes_max);
    qimg::fuzz::Qcow2Mutator mutator(std::span(data, size), bytes_max, seed);
    for (unsigned changes = 1 + seed / 8 % 4; changes > 0; --changes)
        mutator.mutate();
    const auto image = mutator.image();
    const std::size_t bytes = std::min(image.size(), bytes_max);
    std::memcpy(data, image.data(), bytes);
    return bytes;
}
