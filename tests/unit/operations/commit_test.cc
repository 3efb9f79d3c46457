// What commit writes into the base, and what it leaves in the overlay.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/commit.hpp"

#include <doctest/doctest.h>

#include "support/memory_chain.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

CommitReport must_commit(MemoryChain& chain, std::optional<std::string> base = std::nullopt,
                         bool empty = true) {
    CommitOptions options;
    options.path = "top";
    options.base = std::move(base);
    options.empty = empty;
    auto report = commit(options, chain);
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message));
    return *report;
}

}  // namespace

TEST_CASE("the base gets what the overlay has, and the overlay is empty") {
    MemoryChain chain;
    chain.add("base", MiB);
    chain.add("top", MiB, "base");
    chain.write("base", 0, MiB, 1);
    chain.write("top", 64 * KiB, 128 * KiB, 2);
    chain.zero("top", 512 * KiB, 64 * KiB);
    const Bytes before = chain.read("top");
    const CommitReport report = must_commit(chain);
    CHECK(report.base == "base");
    CHECK(report.bytes_copied == 128 * KiB);
    CHECK(chain.read("base") == before);
    CHECK(chain.read("top") == before);
    CHECK(chain.allocated("top") == 0);
    CHECK(chain.clusters("top") == 4);  // header, refcount table, refcount block, L1 table
}

TEST_CASE("without emptying the overlay stays as it is") {
    MemoryChain chain;
    chain.add("base", MiB);
    chain.add("top", MiB, "base");
    chain.write("top", 0, 64 * KiB, 2);
    const Bytes file = chain.content("top");
    must_commit(chain, std::nullopt, false);
    CHECK(chain.content("top") == file);
    CHECK(chain.read("base") == chain.read("top"));
}

TEST_CASE("a long overlay goes into its base piece by piece, whatever their clusters are") {
    for (const std::uint64_t cluster_bytes : {4 * KiB, 64 * KiB, 2 * MiB}) {
        CAPTURE(cluster_bytes);
        MemoryChain chain;
        Qcow2Layout layout;
        layout.cluster_bytes = cluster_bytes;
        chain.add("base", 32 * MiB, "", layout);
        chain.add("top", 32 * MiB, "base");
        chain.write("base", 5 * MiB, 9 * MiB, 1);
        for (std::uint64_t at = 0; at < 32 * MiB; at += 256 * KiB)
            chain.write("top", at, 64 * KiB, static_cast<int>(at / (256 * KiB)) + 2);
        chain.write("top", 16 * MiB + 17, 7 * MiB, 200);
        chain.zero("top", 6 * MiB, 3 * MiB);
        const Bytes before = chain.read("top");
        must_commit(chain);
        CHECK(chain.read("base") == before);
        CHECK(chain.read("top") == before);
        CHECK(chain.findings("base") == 0);
        CHECK(chain.findings("top") == 0);
    }
}

TEST_CASE("a base grows to the overlay's length, and keeps a greater one") {
    for (const std::uint64_t bytes : {256 * KiB, 2 * MiB}) {
        MemoryChain chain;
        chain.add("base", bytes);
        chain.add("top", MiB, "base");
        chain.write("base", 0, bytes, 1);
        chain.write("top", MiB - 64 * KiB, 64 * KiB, 2);
        const Bytes before = chain.read("top");
        const CommitReport report = must_commit(chain);
        CHECK(report.base_size == std::max(bytes, MiB));
        Bytes seen = chain.read("base");
        seen.resize(MiB);
        CHECK(seen == before);
        CHECK(chain.read("top") == before);
    }
}

TEST_CASE("where an image in between ends, the base below it must not show") {
    MemoryChain chain;
    chain.add("base", MiB);
    chain.add("mid", 256 * KiB, "base");
    chain.add("top", MiB, "mid");
    chain.write("base", 0, MiB, 1);
    chain.write("mid", 64 * KiB, 64 * KiB, 2);
    chain.write("top", 128 * KiB, 64 * KiB, 3);
    const Bytes before = chain.read("top");
    must_commit(chain, "base");
    CHECK(chain.read("base") == before);
    CHECK(chain.read("top") == before);
    CHECK(chain.allocated("top") == 64 * KiB);
}

TEST_CASE("zeroes reach a base that cannot record them") {
    MemoryChain chain;
    Qcow2Layout version_2;
    version_2.version = 2;
    chain.add("base", MiB, "", version_2);
    chain.add("top", MiB, "base");
    chain.write("base", 0, MiB, 1);
    chain.zero("top", 128 * KiB, 64 * KiB);
    const Bytes before = chain.read("top");
    must_commit(chain);
    CHECK(chain.read("base") == before);
}

TEST_CASE("a chain without that base is refused") {
    MemoryChain chain;
    chain.add("top", MiB);
    CommitOptions options;
    options.path = "top";
    CHECK(commit(options, chain).error().message == "Image does not have a backing file");
    options.base = "base";
    CHECK(commit(options, chain).error().message == "Did not find 'base' in the backing chain of 'top'");
}

TEST_CASE("an emptied image ends behind its last cluster in use, also where many refcount blocks were") {
    MemoryChain chain;
    Qcow2Layout small;
    small.cluster_bytes = 512;
    chain.add("base", 2 * MiB);
    chain.add("top", 2 * MiB, "base", small);
    const std::uint64_t fresh = chain.content("top").size();
    chain.write("top", 0, 2 * MiB, 1);  // a block counts 128 KiB
    must_commit(chain);
    CHECK(chain.content("top").size() < fresh + 8 * KiB);
    CHECK(chain.findings("top") == 0);
    chain.write("top", 0, 2 * MiB, 2);
    CHECK(chain.findings("top") == 0);
}
