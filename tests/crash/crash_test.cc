// Every change to an image, cut at every call: the image opens and holds the old or the new content.
// QIMG_SEED replays one run, QIMG_ROUNDS=N tries N random states at each cut (default 2).
// SPDX-License-Identifier: Apache-2.0
#include "support/changes.hpp"
#include "support/environment.hpp"

using namespace qimg;
using namespace qimg::test;

TEST_CASE("a change that is cut anywhere leaves the old or the new content") {
    const std::uint64_t rounds = from_environment("QIMG_ROUNDS", 2);
    const std::uint64_t seed = from_environment("QIMG_SEED", 1);
    std::mt19937_64 random(seed);
    std::uint64_t states = 0;
    for (const Qcow2Layout& layout : layouts()) {
        for (const Change& change : changes()) {
            if (!can_run(change, layout)) continue;
            const Bytes start = starting_image_for(change, layout);
            CAPTURE(change.name);
            CAPTURE(layout.cluster_bytes);
            CAPTURE(layout.refcount_bits);
            CAPTURE(seed);
            RecordingStorage file(start);
            const Content before = read_content(file);
            const auto done = change.run(*open_image(file, true));
            REQUIRE_MESSAGE(done, (done ? "" : done.error().message));
            const Content after = read_content(file);
            REQUIRE_FALSE(after == before);
            for (std::size_t cut = 0; cut <= file.log().size(); ++cut) {
                CAPTURE(cut);
                for (std::uint64_t round = 0; round < rounds; ++round) {
                    check_state(crashed(start, file.log(), cut, random), before, after, change.bytewise);
                    ++states;
                }
            }
        }
    }
    MESSAGE("states tried: ", states);
}
