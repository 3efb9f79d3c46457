// RateLimit: holds a copy back to so many bytes a second.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

namespace qimg {

// Sleeps so that no more than `bytes_per_second` are written; 0: as many as can be.
class RateLimit {
  public:
    explicit RateLimit(std::uint64_t bytes_per_second)
        : rate_(bytes_per_second), started_(std::chrono::steady_clock::now()) {}

    void wait_after(std::uint64_t bytes_in_all) const {
        if (rate_ == 0) return;
        const std::chrono::duration<double> due(static_cast<double>(bytes_in_all) /
                                                static_cast<double>(rate_));
        std::this_thread::sleep_until(started_ +
                                      std::chrono::duration_cast<std::chrono::steady_clock::duration>(due));
    }

  private:
    std::uint64_t rate_;
    std::chrono::steady_clock::time_point started_;
};

}  // namespace qimg
