// QEMU's option list grammar and error texts.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/option_list.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "qimg/size_text.hpp"

namespace qimg::cli {

namespace {

bool is_help(std::string_view name) {
    return name == "help" || name == "?";
}

// A single comma at an end leaves an empty option there; a doubled one is a comma inside a value.
bool is_list(std::string_view list) {
    if (list.empty() || list[0] == ',') return false;
    const std::size_t last = list.find_last_not_of(',');
    return (list.size() - 1 - last) % 2 == 0;
}

// Takes the text up to the next single comma, with doubled ones made single.
std::string take_item(std::string_view& list) {
    std::string item;
    while (!list.empty()) {
        if (list[0] == ',' && !list.starts_with(",,")) {
            list.remove_prefix(1);
            break;
        }
        item += list[0];
        list.remove_prefix(list[0] == ',' ? 2 : 1);
    }
    return item;
}

std::unexpected<Error> bad_value(std::string text) {
    return fail(ErrorKind::invalid_argument, std::move(text));
}

Result<std::uint64_t> parse_boolean(const std::string& name, std::string_view value) {
    if (value == "on") return 1;
    if (value == "off") return 0;
    return bad_value(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
}

// As strtoull does with base 0: a sign, then hexadecimal, octal or decimal digits.
Result<std::uint64_t> parse_number(const std::string& name, std::string_view value) {
    std::string_view digits = value;
    const bool negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) digits.remove_prefix(1);
    int base = 10;
    if (digits.starts_with("0x") || digits.starts_with("0X")) {
        base = 16;
        digits.remove_prefix(2);
    } else if (digits.size() > 1 && digits[0] == '0') {
        base = 8;
    }
    std::uint64_t number = 0;
    const char* const end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, number, base);
    if (error == std::errc::result_out_of_range && stopped == end) {
        return bad_value(fmt::format("Value '{}' is too large for parameter '{}'", value, name));
    }
    if (error != std::errc() || stopped != end) {
        return bad_value(fmt::format("Parameter '{}' expects a number", name));
    }
    return negative ? std::uint64_t{0} - number : number;
}

Result<std::uint64_t> parse_option_size(const std::string& name, std::string_view value) {
    auto size = parse_size(value);
    if (!size) return std::unexpected<Error>(option_size_error(name, value, size.error()));
    return size;
}

Result<OptionValue> parse_value(const OptionDescription& option, const std::string& value) {
    OptionValue parsed{option.name, value};
    if (option.type == OptionType::text) return parsed;
    const auto number = option.type == OptionType::boolean  ? parse_boolean(option.name, value)
                        : option.type == OptionType::number ? parse_number(option.name, value)
                                                            : parse_option_size(option.name, value);
    if (!number) return std::unexpected<Error>(number.error());
    parsed.number = *number;
    if (option.type == OptionType::size) parsed.value = fmt::format("{}", *number);
    if (option.type == OptionType::number)
        parsed.value = fmt::format("{}", static_cast<std::int64_t>(*number));
    return parsed;
}

const char* type_name(OptionType type) {
    switch (type) {
        case OptionType::boolean:
            return "<bool (on/off)>";
        case OptionType::number:
            return "<num>";
        case OptionType::size:
            return "<size>";
        case OptionType::text:
            break;
    }
    return "<str>";
}

}  // namespace

bool OptionList::add(std::string_view list) {
    if (!is_list(list)) return false;
    while (!list.empty()) {
        const std::string item = take_item(list);
        const std::size_t equals = item.find('=');
        if (equals == item.npos) {
            items_.push_back({item, std::nullopt});
        } else {
            items_.push_back({item.substr(0, equals), item.substr(equals + 1)});
        }
    }
    return true;
}

void OptionList::append(const OptionList& more) {
    items_.insert(items_.end(), more.items_.begin(), more.items_.end());
}

void OptionList::set(std::string_view name, std::string_view value) {
    items_.push_back({std::string(name), std::string(value)});
}

std::optional<std::string> OptionList::take(std::string_view name) {
    std::optional<std::string> value;
    for (const Item& item : items_) {
        if (item.name == name) value = item.value ? *item.value : std::string();
    }
    std::erase_if(items_, [&](const Item& item) { return item.name == name; });
    return value;
}

bool OptionList::wants_help() const {
    return std::any_of(items_.begin(), items_.end(),
                       [](const Item& item) { return !item.value && is_help(item.name); });
}

Result<std::vector<OptionValue>> OptionList::parse(std::span<const OptionDescription> known) const {
    std::vector<OptionValue> values;
    for (const Item& item : items_) {
        const bool negated = !item.value && item.name.starts_with("no");
        const std::string name = negated ? item.name.substr(2) : item.name;
        const auto option = std::find_if(known.begin(), known.end(),
                                         [&](const OptionDescription& o) { return o.name == name; });
        if (option == known.end()) return bad_value(fmt::format("Invalid parameter '{}'", name));
        auto value = parse_value(*option, item.value.value_or(negated ? "off" : "on"));
        if (!value) return std::unexpected<Error>(value.error());
        std::erase_if(values, [&](const OptionValue& earlier) { return earlier.name == name; });
        values.push_back(std::move(*value));
    }
    return values;
}

Error option_size_error(std::string_view name, std::string_view value, const Error& reason) {
    Error error = reason;
    if (reason.system_errno == ERANGE) {
        error.message = fmt::format("Value '{}' is out of range for parameter '{}'", value, name);
    } else {
        error.message = fmt::format(
            "Parameter '{}' expects a non-negative number below 2^64\n"
            "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
            "and exabytes, respectively.",
            name);
    }
    return error;
}

void print_options(std::span<const OptionDescription> known) {
    std::vector<OptionDescription> sorted(known.begin(), known.end());
    std::sort(sorted.begin(), sorted.end(), [](const OptionDescription& a, const OptionDescription& b) {
        return std::string_view(a.name) < std::string_view(b.name);
    });
    for (const OptionDescription& option : sorted) {
        const std::string name = fmt::format("{}={}", option.name, type_name(option.type));
        fmt::print("  {:<22} - {}\n", name, option.help);
    }
}

}  // namespace qimg::cli
