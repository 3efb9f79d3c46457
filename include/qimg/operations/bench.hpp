// bench: how fast requests to an image are answered.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include "qimg/image.hpp"

namespace qimg {

struct BenchOptions {
    std::uint64_t count = 75000;  // requests
    unsigned depth = 64;          // of them at the same time, as far as threads and memory go; not 0
    std::uint64_t start = 0;      // where the first one begins, bytes
    std::uint64_t bytes = 4096;   // of a request
    std::uint64_t step = 4096;    // from one to the next; the disk's end is followed by its start
    bool write = false;
    std::byte pattern = std::byte{0};  // what is written
    std::uint64_t flush_interval = 0;  // flush after so many writes; 0: never
};

struct BenchReport {
    std::chrono::duration<double> time{};
};

// Reads go on in several threads; writes go one after the other, since each may change the image's tables.
// What was written is flushed after the time is taken. Errors: io for a request that goes past the end of the
// disk, and those of Image::read, write and flush.
Result<BenchReport> bench(Image& image, const BenchOptions& options);

}  // namespace qimg
