// Recognises boot stages in console output.
// SPDX-License-Identifier: Apache-2.0
#include "vm/console_progress.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace qimg::vm {

namespace {

constexpr std::size_t line_bytes_max = 4096;  // a longer line is looked at in pieces
constexpr std::size_t lines_kept = 40;
constexpr char escape = '\x1b';

// Past the control sequence at the front of `text`: ESC [ parameters final, ESC ] text BEL, or ESC final.
std::size_t sequence_length(std::string_view text) {
    if (text.size() < 2) return text.size();
    if (text[1] == '[') {
        for (std::size_t i = 2; i < text.size(); ++i) {
            if (text[i] >= 0x40 && text[i] <= 0x7e) return i + 1;
        }
        return text.size();
    }
    if (text[1] == ']') {
        const std::size_t bell = text.find('\a');
        return bell == std::string_view::npos ? text.size() : bell + 1;
    }
    return 2;
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// "[    0.000000] …", as the kernel begins its messages.
bool has_kernel_time(std::string_view line) {
    if (!line.starts_with('[')) return false;
    line.remove_prefix(1);
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    const std::size_t dot = line.find('.');
    if (dot == 0 || dot > 6 || line.size() < dot + 8 || line[dot + 7] != ']') return false;
    return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(dot), is_digit);
}

// getty's prompt: "HOST login: ". After a login there is also "Last login: DATE".
bool is_login_prompt(std::string_view line) {
    const std::size_t at = line.find(" login:");
    if (at == 0 || at == std::string_view::npos) return false;
    const std::string_view host = line.substr(0, at);
    return host != "Last" && host.find(' ') == std::string_view::npos;
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

// systemd's and OpenRC's first words; GRUB welcomes, too.
bool is_of_an_init(std::string_view line) {
    return contains(line, "systemd[1]: ") || line.starts_with("[  OK  ] ") || contains(line, "OpenRC ") ||
           (line.starts_with("Welcome to ") && !line.starts_with("Welcome to GRUB"));
}

}  // namespace

std::string without_control_sequences(std::string_view text) {
    std::string plain;
    while (!text.empty()) {
        if (text[0] == escape) {
            text.remove_prefix(sequence_length(text));
            continue;
        }
        if (text[0] == '\t') plain += ' ';
        if (static_cast<unsigned char>(text[0]) >= 0x20 && text[0] != 0x7f) plain += text[0];
        text.remove_prefix(1);
    }
    return printable(plain);
}

void ConsoleProgress::feed(std::string_view text) {
    for (const char c : text) {
        if (c == '\n') {
            end_line();
        } else if (line_.size() < line_bytes_max) {
            line_ += c;
        } else {
            end_line();
            line_ += c;
        }
    }
    // a prompt waits at the end of a line that is not ended
    if (!line_.empty()) look(without_control_sequences(line_));
}

void ConsoleProgress::end_line() {
    const std::string plain = without_control_sequences(line_);
    look(plain);
    line_.clear();
    if (plain.find_first_not_of(' ') == std::string::npos) return;
    recent_.push_back(plain);
    if (recent_.size() > lines_kept) recent_.erase(recent_.begin());
}

void ConsoleProgress::look(std::string_view line) {
    if (line.find_first_not_of(' ') == std::string_view::npos) return;
    output_ = true;
    last_line_ = line;
    kernel_ = kernel_ || has_kernel_time(line) || contains(line, "Linux version ");
    user_space_ = user_space_ || is_of_an_init(line);
    login_ = login_ || is_login_prompt(line);
    cloud_init_ = cloud_init_ || contains(line, "Cloud-init v. ") || contains(line, "cloud-init[");
    cloud_init_end_ =
        cloud_init_end_ || (contains(line, "Cloud-init v. ") && contains(line, " finished at "));
    panic_ = panic_ || contains(line, "Kernel panic - not syncing");
}

Stage ConsoleProgress::stage() const {
    if (cloud_init_end_) return Stage::cloud_init;
    if (login_) return Stage::login;
    if (kernel_) return Stage::kernel;
    return output_ ? Stage::console : Stage::started;
}

std::vector<std::string> ConsoleProgress::last_lines(std::size_t count) const {
    std::vector<std::string> lines = recent_;
    const std::string open_line = without_control_sequences(line_);
    if (open_line.find_first_not_of(' ') != std::string::npos) lines.push_back(open_line);
    if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
    return lines;
}

}  // namespace qimg::vm
