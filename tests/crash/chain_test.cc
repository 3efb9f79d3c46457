// Rebase and commit, cut at every call to any of the files: guests see what they saw before.
// QIMG_SEED replays one run, QIMG_ROUNDS=N tries N random states at each cut (default 2).
// SPDX-License-Identifier: Apache-2.0
#include "support/chain_changes.hpp"
#include "support/environment.hpp"

using namespace qimg;
using namespace qimg::test;

TEST_CASE("a rebase or a commit that is cut anywhere leaves what guests see as it was") {
    const std::uint64_t rounds = from_environment("QIMG_ROUNDS", 2);
    const std::uint64_t seed = from_environment("QIMG_SEED", 1);
    std::mt19937_64 random(seed);
    std::uint64_t states = 0;
    for (const Qcow2Layout& layout : layouts()) {
        const Folder start = starting_chain(layout);
        const ChainContent before = read_chain(start);
        for (const ChainChange& change : chain_changes()) {
            CAPTURE(change.name);
            CAPTURE(layout.cluster_bytes);
            CAPTURE(layout.refcount_bits);
            CAPTURE(seed);
            RecordedFolder files(start);
            const auto done = change.run(files);
            REQUIRE_MESSAGE(done, (done ? "" : done.error().message));
            REQUIRE_FALSE(files.content() == start);
            for (std::size_t cut = 0; cut <= files.changing_calls(); ++cut) {
                CAPTURE(cut);
                for (std::uint64_t round = 0; round < rounds; ++round) {
                    check_chain(files.crashed_after(cut, random), before);
                    ++states;
                }
            }
        }
    }
    MESSAGE("states tried: ", states);
}
