// Sizes on the command line.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/size_argument.hpp"

#include <cerrno>
#include <limits>

#include "cli/qimg/messages.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

std::optional<std::uint64_t> parse_size_argument(std::string_view what, std::string_view text) {
    constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
    const auto size = parse_size(text);
    const bool too_large =
        size ? *size > static_cast<std::uint64_t>(largest) : size.error().system_errno == ERANGE;
    if (too_large) {
        print_errorf("Invalid {} specified. Must be between 0 and {}.", what, largest);
        return std::nullopt;
    }
    if (!size) {
        print_errorf("Invalid {} specified. You may use k, M, G, T, P or E suffixes for", what);
        print_error("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
        return std::nullopt;
    }
    return *size;
}

}  // namespace qimg::cli
