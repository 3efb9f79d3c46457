// Sizes on the command line.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/size_argument.hpp"

#include <cerrno>

#include "cli/qimg/messages.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

std::optional<std::uint64_t> parse_size_argument(std::string_view what, std::string_view text,
                                                 const SizeBounds& bounds) {
    const auto size = parse_size(text);
    const bool out_of_bounds =
        size ? *size < bounds.smallest || *size > bounds.largest : size.error().system_errno == ERANGE;
    if (out_of_bounds) {
        print_errorf("Invalid {} specified. Must be between {} and {}.", what, bounds.smallest,
                     bounds.largest);
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
