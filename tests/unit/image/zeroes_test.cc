// What writing zeroes means for an overlay.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "qimg/image.hpp"
#include "support/memory_chain.hpp"
#include "support/recording_storage.hpp"

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

TEST_CASE("around a small write there are zeroes, and new space needs none of them written") {
    Qcow2Layout small;
    small.cluster_bytes = 4 * KiB;
    Qcow2Layout extended_l2;
    extended_l2.extended_l2 = true;
    for (const Qcow2Layout& layout : {Qcow2Layout{}, small, extended_l2}) {
        test::RecordingStorage file;
        REQUIRE(qcow2::create_empty(file, layout, MiB));
        qcow2::Qcow2Options writable;
        writable.writable = true;
        Image image("image", qcow2::Qcow2::open(borrow_storage(file), writable).value(), nullptr);
        Bytes expected(MiB);
        const auto write = [&](std::uint64_t at, std::uint64_t count, int value) {
            REQUIRE(image.write(GuestOffset(at), Bytes(count, std::byte(value))));
            std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(at), count, std::byte(value));
        };
        write(600 * KiB, 64 * KiB, 1);
        REQUIRE(image.flush());
        const std::size_t calls = file.log().size();
        write(130 * KiB + 100, 512, 2);
        write(300 * KiB, 512, 3);
        std::size_t written = 0;
        for (std::size_t i = calls; i < file.log().size(); ++i)
            written += file.log()[i].data.size();
        CHECK(written == 1024);
        // space that was somebody's before, and that the file system could not take back
        const HostOffset old = *image.extent(GuestRange(GuestOffset(600 * KiB), 64 * KiB)).value().host;
        REQUIRE(image.discard(GuestRange(GuestOffset(576 * KiB), 128 * KiB)));
        std::fill_n(expected.begin() + 576 * KiB, 128 * KiB, std::byte{0});
        REQUIRE(image.flush());
        REQUIRE(file.write(old, Bytes(64 * KiB, std::byte{0xdd})));
        write(900 * KiB + 1000, 100, 4);
        write(10 * KiB, 100, 5);
        REQUIRE(image.flush());
        Bytes disk(MiB);
        REQUIRE(image.read(GuestOffset(0), disk));
        CHECK(disk == expected);
    }
}
