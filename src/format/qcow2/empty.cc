// Emptying: the L1 entries first, then the space, then the refcount blocks that counted it, then the file's end.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/empty.hpp"

#include "base/try.hpp"
#include "format/qcow2/reference_walk.hpp"

namespace qimg::qcow2 {

namespace {

// Each round can leave a block empty that counted another one.
Result<void> drop_empty_blocks(Qcow2& image) {
    for (;;) {
        const std::vector<ClusterRun> blocks = TRY(image.refcounts().drop_empty_blocks());
        for (const ClusterRun& block : blocks)
            image.release_later(block);
        TRY(image.flush());
        if (blocks.empty()) return {};
    }
}

// With the entries gone, nothing refers to what lies in an external data file.
Result<void> discard_data_file(Qcow2& image) {
    if (!image.header().has_data_file()) return {};
    const std::uint64_t bytes = TRY(image.data_storage().size());
    return image.data_storage().discard(HostRange(HostOffset(0), bytes));
}

}  // namespace

Result<void> empty(Qcow2& image) {
    TRY(image.prepare_changing());
    TRY(image.flush());
    const auto l1 = TRY(image.l1());
    const std::vector<std::uint64_t> entries(l1.begin(), l1.end());
    for (std::uint64_t i = 0; i < entries.size(); ++i) {
        if (entries[i] != 0) TRY(image.set_l1_entry(i, 0));
    }
    TRY(change_references(image, entries, ReferenceChange::release));
    TRY(image.flush());
    TRY(discard_data_file(image));
    TRY(drop_empty_blocks(image));
    const std::uint64_t used = TRY(image.refcounts().end_of_used_clusters());
    const std::uint64_t file_bytes = TRY(image.storage().size());
    const std::uint64_t needed = image.geometry().offset_of(used).bytes;
    if (needed < file_bytes) TRY(image.storage().resize(needed));
    return image.reload();
}

}  // namespace qimg::qcow2
