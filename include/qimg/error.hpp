// Errors as values: what every fallible function of the library returns.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace qimg {

// What went wrong, as far as a caller may want to decide on it; the message is for people.
enum class ErrorKind {
    invalid_argument,  // the caller asked for something that cannot be
    corrupt,           // a file breaks a rule of its format
    unsupported,       // well-formed, but not something this library does
    not_found,         // no such file, snapshot or format
    exists,            // the name is taken
    in_use,            // another process holds the image
    read_only,         // the image or file was opened for reading, or may not be written
    no_space,          // the file system is full or a size limit is reached
    io,                // the system reported any other failure
    cancelled,         // the caller asked to stop
    unsafe,            // possible, but somebody's data would be lost or given away
};

struct Error {
    ErrorKind kind;
    std::string message;    // one line, no newline, names the file and the rule broken
    int system_errno = 0;   // the errno behind it, 0 when there is none
    std::string detail;     // where and why, when `message` is fixed by what other programs expect
    std::string hint = {};  // what to do, when it takes a line of its own; calls the program qimg
};

// A value or an Error. A class of its own, not an alias, so that ignoring one is a compiler warning.
template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
  public:
    using std::expected<T, Error>::expected;
};

// `return fail(ErrorKind::corrupt, "…");` from a function that returns Result<T>.
inline std::unexpected<Error> fail(ErrorKind kind, std::string message, int system_errno = 0) {
    return std::unexpected<Error>(Error{kind, std::move(message), system_errno, {}});
}
inline std::unexpected<Error> fail_detailed(ErrorKind kind, std::string message, std::string detail) {
    return std::unexpected<Error>(Error{kind, std::move(message), 0, std::move(detail)});
}

}  // namespace qimg
