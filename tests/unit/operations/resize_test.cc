// What a longer disk shows: what was there, then zeroes; whatever lies below and however space is found.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/resize.hpp"

#include <doctest/doctest.h>

#include "support/memory_chain.hpp"

using namespace qimg;

namespace {

constexpr Preallocation every_preallocation[] = {Preallocation::off, Preallocation::metadata,
                                                 Preallocation::falloc, Preallocation::full};

Qcow2Layout extended_l2() {
    Qcow2Layout layout;
    layout.extended_l2 = true;
    return layout;
}

void grow(test::MemoryChain& chain, const std::string& name, std::uint64_t bytes,
          Preallocation preallocation) {
    ResizeOptions options;
    options.path = name;
    options.size = SizeChange{SizeChange::Kind::absolute, bytes};
    options.preallocation = preallocation;
    const auto report = resize(options, chain, no_progress());
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message));
}

}  // namespace

TEST_CASE("a longer overlay keeps what it shows of its backing file, in its old last cluster, too") {
    for (const Qcow2Layout& layout : {Qcow2Layout{}, extended_l2()}) {
        for (const Preallocation preallocation : every_preallocation) {
            for (const std::uint64_t base_bytes : {20 * KiB, 31 * KiB, 64 * KiB, 200 * KiB}) {
                for (const std::uint64_t bytes : {32 * KiB, 64 * KiB, 96 * KiB, 300 * KiB}) {
                    CAPTURE(layout.extended_l2);
                    CAPTURE(static_cast<int>(preallocation));
                    CAPTURE(base_bytes);
                    CAPTURE(bytes);
                    test::MemoryChain chain;
                    chain.add("base", base_bytes);
                    chain.write("base", 0, base_bytes, 7);
                    chain.add("overlay", 31 * KiB, "base", layout);
                    Bytes expected = chain.read("overlay");
                    grow(chain, "overlay", bytes, preallocation);
                    expected.resize(bytes);
                    CHECK(chain.read("overlay") == expected);
                    CHECK(chain.findings("overlay") == 0);
                    const bool has_all_space = preallocation != Preallocation::off && bytes > 31 * KiB;
                    if (has_all_space) CHECK(chain.file_bytes("overlay") % Qcow2Layout{}.cluster_bytes == 0);
                }
            }
        }
    }
}

TEST_CASE("a longer disk keeps data of its own") {
    for (const Preallocation preallocation : every_preallocation) {
        test::MemoryChain chain;
        chain.add("disk", 31 * KiB);
        chain.write("disk", 0, 31 * KiB, 5);
        grow(chain, "disk", MiB, preallocation);
        Bytes expected(31 * KiB, std::byte{5});
        expected.resize(MiB);
        CHECK(chain.read("disk") == expected);
    }
}
