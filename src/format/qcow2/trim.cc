// The refcount table first, then the clusters of its blocks, then the file's length: a cut file must not have
// anything on stable storage that leads behind its end.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/trim.hpp"

#include "base/try.hpp"

namespace qimg::qcow2 {

Result<void> trim(Qcow2& image) {
    // each round can leave a block empty that counted another one
    for (bool again = true; again;) {
        TRY(image.flush());
        const std::vector<ClusterRun> blocks = TRY(image.refcounts().drop_empty_blocks());
        for (const ClusterRun& block : blocks)
            image.release_later(block);
        again = !blocks.empty();
    }
    TRY(image.flush());
    return image.cut_unused_end();
}

}  // namespace qimg::qcow2
