// Error texts for system calls, and escaping of bytes that come from files.
// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <cerrno>
#include <cstring>

namespace qimg {

std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    std::size_t length = first < 0x80                    ? 1
                         : first >= 0xc2 && first < 0xe0 ? 2
                         : (first & 0xf0) == 0xe0        ? 3
                                                         : 0;
    if (first >= 0xf0 && first < 0xf5) length = 4;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
    }
    const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
    const bool surrogate = first == 0xed && byte(1) >= 0xa0;
    const bool past_unicode = first == 0xf4 && byte(1) >= 0x90;
    return overlong || surrogate || past_unicode ? 0 : length;
}

namespace {

bool is_control(std::string_view sequence) {
    const auto first = static_cast<unsigned char>(sequence[0]);
    if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
    // C1 controls, U+0080 to U+009F, also move a terminal's state
    return sequence.size() == 2 && first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

}  // namespace

ErrorKind error_kind(int error_number) {
    switch (error_number) {
        case ENOENT:
        case ENOTDIR:
            return ErrorKind::not_found;
        case EEXIST:
            return ErrorKind::exists;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return ErrorKind::no_space;
        case EROFS:
        case EACCES:
        case EPERM:
            return ErrorKind::read_only;
        case EINVAL:
        case ENAMETOOLONG:
        case EISDIR:
            return ErrorKind::invalid_argument;
        default:
            return ErrorKind::io;
    }
}

std::string errno_text(int error_number) {
    const char* description = strerrordesc_np(error_number);
    return description ? description : fmt::format("error {}", error_number);
}

std::unexpected<Error> fail_errno(int error_number, std::string_view name, std::string_view doing) {
    return fail(error_kind(error_number),
                fmt::format("{}: {}: {}", printable(name), doing, errno_text(error_number)), error_number);
}

std::string printable(std::string_view text) {
    std::string safe;
    safe.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0 || is_control(text.substr(0, length))) {
            for (char c : text.substr(0, length == 0 ? 1 : length)) {
                safe += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
            }
        } else {
            safe.append(text.substr(0, length));
        }
        text.remove_prefix(length == 0 ? 1 : length);
    }
    return safe;
}

}  // namespace qimg
