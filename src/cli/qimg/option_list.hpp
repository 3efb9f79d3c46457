// "-o name=value,name=value": the list, and the names, types and texts of what may stand in it.
//
// Knows the grammar (commas doubled inside a value, "name" alone for on, "noname" for off) and QEMU's words
// for what is wrong; what an option does is known to create_options.hpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qimg/error.hpp"

namespace qimg::cli {

enum class OptionType { text, boolean, number, size };

struct OptionDescription {
    const char* name;
    OptionType type;
    const char* help;
};

// One option that was given. `value` is as QEMU echoes it: numbers and sizes in plain decimal, on or off.
struct OptionValue {
    std::string name;
    std::string value;
    std::uint64_t number = 0;  // of a number, size or boolean
};

class OptionList {
  public:
    struct Item {
        std::string name;
        std::optional<std::string> value;  // absent: the name stands alone
    };

    // Adds what one -o holds. False when it is no list at all ("", ",a", "a,").
    bool add(std::string_view list);
    void append(const OptionList& more);
    void set(std::string_view name, std::string_view value);
    // Takes the options of this name out of the list; the last one's value, empty for a name alone.
    std::optional<std::string> take(std::string_view name);
    const std::vector<Item>& items() const { return items_; }
    // "help" or "?" stands in the list.
    bool wants_help() const;

    // The options by the descriptions, each with its last value. Errors: invalid_argument for an unknown
    // name or a value that is not of the type.
    Result<std::vector<OptionValue>> parse(std::span<const OptionDescription> known) const;

  private:
    std::vector<Item> items_;
};

// The error for a size of the option `name` that parse_size refused, in QEMU's words.
Error option_size_error(std::string_view name, std::string_view value, const Error& reason);

// Prints "  name=<type>  - help" lines, sorted by name.
void print_options(std::span<const OptionDescription> known);

}  // namespace qimg::cli
