// --output=human|json, in the commands that have it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "cli/qimg/messages.hpp"

namespace qimg::cli {

enum class OutputFormat { human, json };

// Empty, with the error printed, for any other word.
inline std::optional<OutputFormat> parse_output_format(std::string_view name) {
    if (name == "human") return OutputFormat::human;
    if (name == "json") return OutputFormat::json;
    print_error("--output must be used with human or json as argument.");
    return std::nullopt;
}

}  // namespace qimg::cli
