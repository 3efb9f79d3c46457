// Sizes as text, both ways.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/size_text.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg {

namespace {

constexpr std::string_view suffixes = "bkMGTPE";  // each 1024 times the one before

std::unexpected<Error> malformed(std::string_view text) {
    return failf(ErrorKind::invalid_argument,
                 "Invalid size '{}': use a number of bytes, or one with the suffix k, M, G, T, P or E",
                 printable(text));
}

std::unexpected<Error> too_large(std::string_view text) {
    return fail(ErrorKind::invalid_argument, fmt::format("Size '{}' is not below 2^64", printable(text)),
                ERANGE);
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::string_view take_digits(std::string_view& text) {
    std::size_t count = 0;
    while (count < text.size() && is_digit(text[count]))
        ++count;
    const std::string_view digits = text.substr(0, count);
    text.remove_prefix(count);
    return digits;
}

// All of `digits` as a number; nullopt when it is not below 2^64.
std::optional<std::uint64_t> number(std::string_view digits, int base) {
    std::uint64_t value = 0;
    const auto end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, value, base);
    return error == std::errc() && stopped == end ? std::optional(value) : std::nullopt;
}

// What the digits stand for behind a point. Neither a locale nor libm, which is a library to load, has a say.
double decimal_fraction(std::string_view digits) {
    if (digits.empty()) return 0;
    return std::strtod(fmt::format("{}e-{}", digits, digits.size()).c_str(), nullptr);
}

Result<std::uint64_t> parse_hexadecimal(std::string_view text, std::string_view digits) {
    if (digits.empty() || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
        return malformed(text);
    const auto value = number(digits, 16);
    if (!value) return too_large(text);
    return *value;
}

// The factor that what follows the digits stands for; nullopt when it is no suffix.
std::optional<std::uint64_t> suffix_factor(std::string_view suffix) {
    if (suffix.empty()) return 1;
    if (suffix.size() > 1) return std::nullopt;
    for (std::size_t i = 0; i < suffixes.size(); ++i) {
        if ((suffixes[i] | 0x20) == (suffix[0] | 0x20)) return std::uint64_t{1} << (10 * i);
    }
    return std::nullopt;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
    std::string_view rest = text;
    while (!rest.empty() && (rest[0] == ' ' || rest[0] == '\t'))
        rest.remove_prefix(1);
    if (rest.starts_with('+')) rest.remove_prefix(1);
    if (rest.starts_with("0x") || rest.starts_with("0X")) return parse_hexadecimal(text, rest.substr(2));

    const std::string_view whole_digits = take_digits(rest);
    if (whole_digits.empty()) return malformed(text);
    double fraction = 0;
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        fraction = decimal_fraction(take_digits(rest));
    }
    const auto factor = suffix_factor(rest);
    if (!factor || (fraction != 0 && *factor == 1)) return malformed(text);
    const auto whole = number(whole_digits, 10);
    const auto bytes = whole ? checked_multiply(*whole, *factor) : std::nullopt;
    const auto rounded = static_cast<std::uint64_t>(fraction * static_cast<double>(*factor) + 0.5);
    const auto sum = bytes ? checked_add(*bytes, rounded) : std::nullopt;
    if (!sum) return too_large(text);
    return *sum;
}

std::optional<std::uint64_t> SizeChange::apply(std::uint64_t current) const {
    constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    std::optional<std::uint64_t> size;
    switch (kind) {
        case Kind::absolute:
            size = bytes;
            break;
        case Kind::grow:
            size = checked_add(current, bytes);
            break;
        case Kind::shrink:
            if (bytes <= current) size = current - bytes;
            break;
    }
    return size && *size <= limit ? size : std::nullopt;
}

Result<SizeChange> parse_size_change(std::string_view text) {
    SizeChange change;
    std::string_view size = text;
    if (text.starts_with('+') || text.starts_with('-')) {
        change.kind = text[0] == '+' ? SizeChange::Kind::grow : SizeChange::Kind::shrink;
        size.remove_prefix(1);
    }
    change.bytes = TRY(parse_size(size));
    return change;
}

std::string format_size(std::uint64_t bytes) {
    constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    // four digits before the point would be one more than is printed
    while (value >= 1000 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    return fmt::format("{:.3g} {}", value, units[unit]);
}

}  // namespace qimg
