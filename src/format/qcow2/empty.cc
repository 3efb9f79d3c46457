// Emptying: the L1 entries first, then the space, then what is left over.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/empty.hpp"

#include "base/try.hpp"
#include "format/qcow2/reference_walk.hpp"
#include "format/qcow2/trim.hpp"

namespace qimg::qcow2 {

namespace {

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
    TRY(trim(image));
    return image.reload();
}

}  // namespace qimg::qcow2
