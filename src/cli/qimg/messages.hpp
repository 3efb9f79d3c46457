// What qimg says on stderr: the program's name as called, then one sentence. Knows QEMU's conventions only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "qimg/error.hpp"

namespace qimg::cli {

inline constexpr std::string_view program_version = QIMG_VERSION;

// Called once, with main's argv[0]: its last part is what messages start with.
void set_program_name(const char* argv0);
const std::string& program_name();
// Called as "qemu-img": then texts are that program's to the letter, without what qimg adds to them.
bool is_drop_in();

// "NAME: TEXT\n" on stderr. stdout is not flushed before: in a pipe it follows at exit, as qemu-img's does.
void print_error(std::string_view text);
void print_warning(std::string_view text);

template <class... Args>
void print_errorf(fmt::format_string<Args...> format, Args&&... args) {
    print_error(fmt::format(format, std::forward<Args>(args)...));
}

// "NAME: CONTEXT: MESSAGE (DETAIL)", without the empty ones of these, and without DETAIL for a drop-in.
void print_error(const Error& error, std::string_view context = {});

// What a check or a repair found: the lines of it as they are on stderr, where they name this program by the
// name it was called by.
void print_finding(const std::string& finding);

// A command line that cannot be understood: the text, where to find help, and the exit status 1.
int usage_error(std::string_view text);

}  // namespace qimg::cli
