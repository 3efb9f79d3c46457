// What rebase copies into the overlay, what it leaves out, and what it does not even read.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/rebase.hpp"

#include <doctest/doctest.h>

#include "support/memory_chain.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

Result<RebaseReport> try_rebase(MemoryChain& chain, const std::string& onto, bool compress = false) {
    RebaseOptions options;
    options.path = "top";
    options.compress = compress;
    if (!onto.empty()) options.backing = NewBacking{onto, "qcow2", {onto, {}}};
    return rebase(options, chain);
}

// Returns how many bytes were copied; the disk must be what it was, and whole.
std::uint64_t must_rebase(MemoryChain& chain, const std::string& onto, bool compress = false) {
    const Bytes before = chain.read("top");
    const auto report = try_rebase(chain, onto, compress);
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message));
    CHECK(chain.read("top") == before);
    CHECK(chain.findings("top") == 0);
    return report->bytes_copied;
}

}  // namespace

TEST_CASE("only clusters that differ are copied") {
    MemoryChain chain;
    for (const char* name : {"old", "new"}) {
        chain.add(name, MiB);
        chain.write(name, 0, 512 * KiB, 1);
    }
    chain.add("top", MiB, "old");
    chain.write("old", 256 * KiB + 512, 512, 2);
    chain.write("new", 768 * KiB, 64 * KiB, 3);
    CHECK(must_rebase(chain, "new") == 128 * KiB);
    CHECK(chain.allocated("top") == 64 * KiB);  // the other one is recorded as zeroes
    CHECK(chain.backing_of("top") == "new");
}

TEST_CASE("what both chains have from the same place is not read") {
    MemoryChain chain;
    chain.add("base", 4 * MiB);
    chain.write("base", 0, 4 * MiB, 1);
    chain.add("mid", 4 * MiB, "base");
    chain.write("mid", 64 * KiB, 64 * KiB, 2);
    chain.add("top", 4 * MiB, "mid");
    const std::uint64_t before = chain.bytes_read("base");
    const auto report = try_rebase(chain, "base");
    REQUIRE(report);
    CHECK(report->bytes_copied == 64 * KiB);
    CHECK(chain.bytes_read("base") - before < MiB);
    CHECK(chain.allocated("top") == 64 * KiB);
}

TEST_CASE("long chains are compared piece by piece, whatever their clusters are") {
    for (const std::uint64_t cluster_bytes : {4 * KiB, 64 * KiB, 2 * MiB}) {
        CAPTURE(cluster_bytes);
        MemoryChain chain;
        Qcow2Layout layout;
        layout.cluster_bytes = cluster_bytes;
        for (const char* name : {"old", "new"}) {
            chain.add(name, 32 * MiB);
            chain.write(name, 0, 24 * MiB, 1);
        }
        chain.add("top", 32 * MiB, "old", layout);
        for (std::uint64_t at = 0; at < 32 * MiB; at += 768 * KiB)
            chain.write("new", at, 64 * KiB, 3);
        for (std::uint64_t at = 0; at < 32 * MiB; at += 512 * KiB)
            chain.write("top", at, 64 * KiB, 4);
        must_rebase(chain, "new");
        if (cluster_bytes < 768 * KiB) CHECK(chain.allocated("top") < 24 * MiB);
        must_rebase(chain, "");
    }
}

TEST_CASE("behind the end of a chain there are zeroes") {
    MemoryChain chain;
    chain.add("short", 128 * KiB);
    chain.write("short", 0, 128 * KiB, 1);
    chain.add("long", MiB);
    chain.write("long", 0, MiB, 1);
    chain.add("top", 512 * KiB, "short");
    CHECK(must_rebase(chain, "long") == 384 * KiB);
    CHECK(must_rebase(chain, "short") == 0);
    CHECK(must_rebase(chain, "") == 128 * KiB);
    CHECK_FALSE(chain.backing_of("top").has_value());
}

TEST_CASE("an image without a backing image can get one") {
    for (const unsigned version : {2u, 3u}) {
        MemoryChain chain;
        Qcow2Layout layout;
        layout.version = version;
        chain.add("new", MiB);
        chain.write("new", 0, 256 * KiB, 1);
        chain.add("top", MiB, "", layout);
        chain.write("top", 64 * KiB, 64 * KiB, 1);
        CHECK(must_rebase(chain, "new") == 192 * KiB);
    }
}

TEST_CASE("with subclusters, only those that differ are copied") {
    MemoryChain chain;
    Qcow2Layout layout;
    layout.extended_l2 = true;
    for (const char* name : {"old", "new"}) {
        chain.add(name, MiB);
        chain.write(name, 0, MiB, 1);
    }
    chain.add("top", MiB, "old", layout);
    chain.write("new", 10 * KiB, 512, 2);
    CHECK(must_rebase(chain, "new") == 2 * KiB);
    CHECK(must_rebase(chain, "old") == 0);
}

TEST_CASE("what is copied can be compressed, in whole clusters") {
    for (const bool extended_l2 : {false, true}) {
        MemoryChain chain;
        Qcow2Layout layout;
        layout.extended_l2 = extended_l2;
        chain.add("old", MiB + 1 * KiB);
        chain.write("old", 0, MiB + 1 * KiB, 1);
        chain.add("top", MiB + 1 * KiB, "old", layout);
        chain.write("top", 4 * KiB, 2 * KiB, 2);
        const std::uint64_t already = chain.content("top").size();
        must_rebase(chain, "", true);
        CHECK(chain.content("top").size() < already + 256 * KiB);
    }
}

TEST_CASE("what cannot be recorded changes nothing") {
    MemoryChain chain;
    chain.add("old", MiB);
    chain.write("old", 0, MiB, 1);
    chain.add("top", MiB, "old");
    const Bytes file = chain.content("top");
    RebaseOptions options;
    options.path = "top";
    options.backing = NewBacking{"old", std::nullopt, {"old", {}}};
    CHECK(rebase(options, chain).error().message ==
          "Could not change the backing file to 'old': backing format must be specified");
    CHECK(try_rebase(chain, "top").error().message == "Backing file 'top' creates an infinite loop.");
    CHECK(try_rebase(chain, "nowhere").error().kind == ErrorKind::not_found);
    CHECK(chain.content("top") == file);
}

TEST_CASE("the unsafe way looks at no other image") {
    MemoryChain chain;
    Qcow2Layout layout;
    chain.add("old", MiB);
    chain.add("top", MiB, "old");
    chain.remove("old");
    RebaseOptions options;
    options.path = "top";
    options.unsafe = true;
    options.backing = NewBacking{"new", "raw", {}};
    REQUIRE(rebase(options, chain));
    CHECK(chain.backing_of("top") == "new");
}
