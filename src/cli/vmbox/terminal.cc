// What a user sees while a command works, and the signals that stop it.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

volatile sig_atomic_t stop_asked = 0;

void on_stop(int number) {
    stop_asked = 1;
    ::signal(number, SIG_DFL);  // the second one ends the program
}

void listen_for_stop() {
    struct sigaction action = {};
    action.sa_handler = on_stop;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction before = {};
        // what the caller ignores (nohup) stays ignored
        if (::sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
        ::sigaction(number, &action, nullptr);
    }
    // a reader that goes away is told by write()
    ::signal(SIGPIPE, SIG_IGN);
}

std::size_t columns() {
    struct winsize size;
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

// At most `limit` bytes, not cut inside a UTF-8 sequence.
std::string shortened(std::string text, std::size_t limit) {
    if (text.size() <= limit) return text;
    while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80)
        --limit;
    text.resize(limit);
    return text;
}

double seconds(std::chrono::milliseconds time) {
    return static_cast<double>(time.count()) / 1000;
}

}  // namespace

Terminal::Terminal(std::string name) : name_(std::move(name)), draws_(::isatty(STDERR_FILENO) == 1) {
    listen_for_stop();
}

Terminal::~Terminal() {
    clear_line();
}

void Terminal::clear_line() {
    if (!drawn_) return;
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
    drawn_ = false;
}

void Terminal::stage(vm::Stage reached, const std::string& detail) {
    clear_line();
    const auto now =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start_);
    const bool names_something = reached == vm::Stage::created || reached == vm::Stage::started;
    fmt::print(stderr, "{}: {:.1f} s: {}{}\n", name_, seconds(now), vm::stage_text(reached),
               names_something && !detail.empty() ? ": " + detail : "");
}

void Terminal::warning(const std::string& message) {
    clear_line();
    fmt::print(stderr, "vmbox: warning: {}\n", message);
}

void Terminal::waiting(std::chrono::milliseconds since_start, const std::string& last_line) {
    if (!draws_) return;
    const std::string line = fmt::format("{}: {:.0f} s  {}", name_, seconds(since_start), last_line);
    fmt::print(stderr, "\r\x1b[K{}", shortened(line, columns() - 1));
    std::fflush(stderr);
    drawn_ = true;
}

void Terminal::console_tail(const std::vector<std::string>& lines) {
    clear_line();
    if (lines.empty()) return;
    fmt::print(stderr, "{}: the end of its console:\n", name_);
    for (const std::string& line : lines)
        fmt::print(stderr, "  | {}\n", line);
}

bool Terminal::cancelled() const {
    return stop_asked != 0;
}

int print_error(const Error& error) {
    fmt::print(stderr, "vmbox: {}\n", error.message);
    return 1;
}

void print_report(const std::string& name, const vm::UpReport& report) {
    if (report.was_running) {
        fmt::print("{}: runs already", name);
    } else if (report.interrupted) {
        fmt::print("{}: nobody waits for it any more, but it goes on running", name);
    } else {
        fmt::print("{}: {}", name, vm::stage_text(report.reached));
    }
    if (report.reached == vm::Stage::off) {
        fmt::print("; 'vmbox log {}' shows what it printed, 'vmbox rm {}' removes it\n", name, name);
        return;
    }
    if (report.address) fmt::print(", address {}", *report.address);
    fmt::print("; 'vmbox console {}' opens its console, 'vmbox rm {}' removes it\n", name, name);
}

}  // namespace qimg::vmbox
