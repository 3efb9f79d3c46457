// Memory reads as zeroes whatever was there before, and moves with its owner.
// SPDX-License-Identifier: Apache-2.0
#include "base/zeroed_memory.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <span>
#include <utility>

#include "qimg/units.hpp"

using namespace qimg;

namespace {

std::span<std::byte> bytes_of(const ZeroedMemory& memory) {
    return {memory.data(), memory.size()};
}

bool is_zero(const ZeroedMemory& memory) {
    return std::ranges::all_of(bytes_of(memory), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

TEST_CASE("memory is as large as asked for, or little larger, and zero, again and again") {
    for (const std::uint64_t bytes : {std::uint64_t{1}, 64 * KiB, 2 * MiB - 1, 2 * MiB, 5 * MiB + 1}) {
        CAPTURE(bytes);
        for (int round = 0; round < 3; ++round) {
            const ZeroedMemory memory(bytes);
            CHECK(memory.size() >= bytes);
            CHECK(memory.size() < bytes + 4 * KiB);
            CHECK(is_zero(memory));
            std::ranges::fill(bytes_of(memory), std::byte{0xff});
        }
    }
}

TEST_CASE("memory that is moved stays, and goes once") {
    for (const std::uint64_t bytes : {64 * KiB, 4 * MiB}) {
        ZeroedMemory first(bytes);
        first.data()[bytes - 1] = std::byte{7};
        const std::byte* const place = first.data();
        ZeroedMemory second(std::move(first));
        CHECK(second.data() == place);
        ZeroedMemory third;
        third = std::move(second);
        CHECK(third.data() == place);
        CHECK(third.data()[bytes - 1] == std::byte{7});
    }
}
