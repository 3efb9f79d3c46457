// Every change to an image with a storage that fails from its n-th call on: the error is told, the image
// opens and holds the old or the new content.
// SPDX-License-Identifier: Apache-2.0
#include "support/changes.hpp"

using namespace qimg;
using namespace qimg::test;

TEST_CASE("a change whose storage fails tells so and leaves the old or the new content") {
    for (const Qcow2Layout& layout : layouts()) {
        for (const Change& change : changes()) {
            if (!can_run(change, layout)) continue;
            const Bytes start = starting_image_for(change, layout);
            CAPTURE(change.name);
            CAPTURE(layout.cluster_bytes);
            RecordingStorage whole(start);
            const Content before = read_content(whole);
            REQUIRE(change.run(*open_image(whole, true)));
            const Content after = read_content(whole);
            for (std::uint64_t call = 0; call < whole.changing_calls(); ++call) {
                CAPTURE(call);
                RecordingStorage file(start);
                file.fail_from(call, call % 2 == 0 ? ErrorKind::io : ErrorKind::no_space);
                const auto done = change.run(*open_image(file, true));
                REQUIRE_FALSE(done);
                CHECK(done.error().message.ends_with("the test's fault"));
                CHECK(done.error().kind == (call % 2 == 0 ? ErrorKind::io : ErrorKind::no_space));
                check_state(file.content(), before, after, change.bytewise);
            }
        }
    }
}
