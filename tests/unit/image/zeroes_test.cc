// What writing zeroes means for an overlay.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "qimg/image.hpp"
#include "support/memory_chain.hpp"

using namespace qimg;

TEST_CASE("zeroes of an overlay's own stay when its base changes, others may not") {
    Qcow2Layout version_2;
    version_2.version = 2;
    Qcow2Layout extended_l2;
    extended_l2.extended_l2 = true;
    for (const Qcow2Layout& layout : {Qcow2Layout{}, version_2, extended_l2}) {
        CAPTURE(layout.version);
        CAPTURE(layout.extended_l2);
        test::MemoryChain chain;
        chain.add("base", MiB);
        chain.add("overlay", MiB, "base", layout);
        constexpr std::uint64_t at = 100 * KiB + 17;
        constexpr std::uint64_t count = 300 * KiB;
        {
            const auto overlay = chain.image("overlay", Access::read_write);
            REQUIRE(overlay->write_zeroes(GuestRange(GuestOffset(at), count), Zeroing::own));
            REQUIRE(overlay->flush());
        }
        chain.write("base", 0, MiB, 7);
        const Bytes disk = chain.read("overlay");
        CHECK(std::ranges::all_of(std::span(disk).subspan(at, count),
                                  [](std::byte byte) { return byte == std::byte{0}; }));
        CHECK(chain.findings("overlay") == 0);
    }
}

TEST_CASE("zeroes that a base has need no space in a version 2 overlay") {
    Qcow2Layout layout;
    layout.version = 2;
    test::MemoryChain chain;
    chain.add("base", MiB);
    chain.add("overlay", MiB, "base", layout);
    chain.zero("overlay", 0, MiB);
    CHECK(chain.allocated("overlay") == 0);
}
