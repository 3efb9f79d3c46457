// Progress on a terminal, in a pipe and on a signal.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/progress_bar.hpp"

#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "cli/qimg/messages.hpp"

namespace qimg::cli {

namespace {

constexpr std::chrono::milliseconds patience(700);  // a command that takes longer shows how far it is
constexpr double step_percent = 1;

volatile sig_atomic_t asked_by_signal = 0;

void on_signal(int) {
    asked_by_signal = 1;
}

void listen() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGUSR1, &action, nullptr);
}

}  // namespace

ProgressBar::ProgressBar(Wish wish)
    : mode_(wish.quiet                                      ? Mode::off
            : wish.asked                                    ? Mode::on
            : !is_drop_in() && ::isatty(STDOUT_FILENO) != 0 ? Mode::later
                                                            : Mode::off),
      started_(std::chrono::steady_clock::now()) {
    if (!wish.asked) listen();
    if (mode_ == Mode::on) draw(0);
}

ProgressBar::~ProgressBar() {
    if (mode_ != Mode::on) return;
    std::fputc('\n', stdout);
    std::fflush(stdout);
}

void ProgressBar::draw(double percent) {
    std::fprintf(stdout, "    (%3.2f/100%%)\r", percent);
    std::fflush(stdout);
    drawn_ = percent;
}

void ProgressBar::complete() {
    if (mode_ == Mode::on) draw(100);
}

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
    const double percent = total == 0 ? 100 : 100 * static_cast<double>(done) / static_cast<double>(total);
    if (asked_by_signal != 0) {
        asked_by_signal = 0;
        std::fprintf(stderr, "    (%3.2f/100%%)\n", percent);
    }
    if (mode_ == Mode::later && std::chrono::steady_clock::now() - started_ > patience) mode_ = Mode::on;
    if (mode_ != Mode::on) return;
    if (std::abs(percent - drawn_) >= step_percent || done >= total) draw(percent);
}

}  // namespace qimg::cli
