// Rebase and commit with files that fail from the n-th call on: the error is told, and guests see what they
// saw before.
// SPDX-License-Identifier: Apache-2.0
#include "support/chain_changes.hpp"

using namespace qimg;
using namespace qimg::test;

TEST_CASE("a rebase or a commit whose files fail tells so and leaves what guests see as it was") {
    for (const Qcow2Layout& layout : layouts()) {
        const Folder start = starting_chain(layout);
        const ChainContent before = read_chain(start);
        for (const ChainChange& change : chain_changes()) {
            CAPTURE(change.name);
            CAPTURE(layout.cluster_bytes);
            RecordedFolder whole(start);
            REQUIRE(change.run(whole));
            for (std::size_t call = 0; call < whole.changing_calls(); ++call) {
                CAPTURE(call);
                RecordedFolder files(start);
                files.fail_from(call);
                const auto done = change.run(files);
                REQUIRE_FALSE(done);
                CHECK(done.error().message.find("the test's fault") != std::string::npos);
                CHECK(done.error().kind == ErrorKind::io);
                check_chain(files.content(), before);
            }
        }
    }
}
