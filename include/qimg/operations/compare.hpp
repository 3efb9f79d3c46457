// compare: do guests see the same on two disks?
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "qimg/image.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct CompareOptions {
    bool strict = false;   // sizes, and what is allocated, have to be the same, too
    unsigned threads = 0;  // 0: as many as there are processors
    // Called once, when disks of different sizes are the same up to the end of the shorter one.
    std::function<void()> on_size_mismatch;
};

enum class CompareVerdict {
    identical,       // bytes past the end of the shorter disk are zeroes
    sizes_differ,    // only when strict
    status_differs,  // only when strict: other parts are allocated, or in another way
    content_differs,
    status_unknown,     // a table could not be read
    content_unreadable  // data could not be read
};

struct CompareReport {
    CompareVerdict verdict = CompareVerdict::identical;
    // Of the first difference, or of what could not be read: bytes, a multiple of 512.
    std::optional<std::uint64_t> offset;
    std::optional<Error> error;  // why something could not be read; names the image
};

// What is found is data in the report: it is about the lowest offset where there is something to say. Runs
// that both images take from the same place in the same file are not read. Errors: cancelled.
Result<CompareReport> compare(const Image& first, const Image& second, const CompareOptions& options,
                              Progress& progress = no_progress());

}  // namespace qimg
