// Replacing a header with its extensions and the backing file name, in steps that a crash cannot tear.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "format/qcow2/header.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

// Writes the header cluster of `storage` so that the file has the old or the new header at any moment; `old`
// is what is there now. `barrier` returns when everything written before is on stable storage; it is called
// before the first write and after the last. Sets header_bytes and backing_file_at of `header`. The feature
// name table is left out where a small cluster has no room for the steps. Errors: no_space when the header
// does not fit the cluster; those of the storage.
Result<void> replace_header(Storage& storage, const Header& old, Header& header,
                            const std::function<Result<void>()>& barrier);

// Whether that failed for want of room in the header's cluster. A full disk comes with an errno.
inline bool is_header_full(const Result<void>& replaced) {
    return !replaced && replaced.error().kind == ErrorKind::no_space && replaced.error().system_errno == 0;
}

}  // namespace qimg::qcow2
