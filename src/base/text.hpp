// Text that may hold bytes from a file: made safe before a person's terminal sees it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

#include "qimg/error.hpp"
#include "qimg/printable.hpp"
#include "qimg/units.hpp"

namespace qimg {

// `fail` with a libfmt format: failf(ErrorKind::corrupt, "{}: bad magic", name).
template <class... Args>
std::unexpected<Error> failf(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
    return fail(kind, fmt::format(format, std::forward<Args>(args)...));
}

// The kind of error that an errno stands for, and its text in plain C, whatever the locale.
ErrorKind error_kind(int error_number);
std::string errno_text(int error_number);

// The Error for a failed system call: "NAME: DOING: TEXT OF ERRNO".
std::unexpected<Error> fail_errno(int error_number, std::string_view name, std::string_view doing);

// The length of the well-formed UTF-8 sequence at the front of `text`, which is not empty; 0 when it is none.
std::size_t utf8_length(std::string_view text);

}  // namespace qimg
