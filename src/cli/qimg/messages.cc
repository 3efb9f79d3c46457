// Error lines in qemu-img's form.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/messages.hpp"

#include <cstdio>
#include <cstring>

namespace qimg::cli {

namespace {

std::string& name_storage() {
    static std::string name = "qimg";
    return name;
}

// The library calls the program qimg.
std::string with_our_name(std::string text) {
    constexpr std::string_view own_name = "qimg ";
    if (!is_drop_in()) return text;
    for (std::size_t at = 0; (at = text.find(own_name, at)) != text.npos;) {
        text.replace(at, own_name.size() - 1, program_name());
        at += program_name().size();
    }
    return text;
}

}  // namespace

void set_program_name(const char* argv0) {
    if (argv0 == nullptr || *argv0 == '\0') return;
    const char* slash = std::strrchr(argv0, '/');
    name_storage() = slash != nullptr ? slash + 1 : argv0;
}

const std::string& program_name() {
    return name_storage();
}

bool is_drop_in() {
    return program_name() == "qemu-img";
}

void print_error(std::string_view text) {
    fmt::print(stderr, "{}: {}\n", program_name(), text);
}

void print_warning(std::string_view text) {
    fmt::print(stderr, "{}: warning: {}\n", program_name(), text);
}

void print_error(const Error& error, std::string_view context) {
    std::string text(context);
    if (!context.empty()) text += ": ";
    text += error.message;
    if (!error.detail.empty() && !is_drop_in()) text += " (" + error.detail + ")";
    print_error(text);
    if (!error.hint.empty()) fmt::print(stderr, "{}\n", with_our_name(error.hint));
}

void print_finding(const std::string& finding) {
    const bool names_us = finding.find("Use qimg ") != finding.npos;
    fmt::print(stderr, "{}\n", names_us ? with_our_name(finding) : finding);
}

int usage_error(std::string_view text) {
    print_error(text);
    fmt::print(stderr, "Try '{} --help' for more information\n", program_name());
    return 1;
}

}  // namespace qimg::cli
