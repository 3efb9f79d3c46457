// How far a long command is, as qemu-img shows it: "    (12.34/100%)" on one line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include "qimg/progress.hpp"

namespace qimg::cli {

// With -p the line is drawn from the start. Without, it is drawn only on a terminal and only once a command
// takes long, and SIGUSR1 prints it once on stderr. A quiet command (-q) draws nothing.
class ProgressBar final : public Progress {
  public:
    struct Wish {
        bool asked = false;  // -p
        bool quiet = false;  // -q
    };
    explicit ProgressBar(Wish wish);
    ~ProgressBar() override;  // ends the line
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    void update(std::uint64_t done, std::uint64_t total) override;
    // Draws 100 %, also when that stands there already, as qemu-img does at the end of some commands.
    void complete();

  private:
    enum class Mode { off, later, on };
    void draw(double percent);

    Mode mode_;
    std::chrono::steady_clock::time_point started_;
    double drawn_ = 0;
};

}  // namespace qimg::cli
