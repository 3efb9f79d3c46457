// JSON in QEMU's layout.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/json_text.hpp"

#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>

namespace qimg::cli {

namespace {

void append_value(std::string& out, const Json& value, std::size_t depth) {
    if (!value.is_structured()) {
        out += value.is_string() ? json_string(value.get_ref<const std::string&>()) : value.dump();
        return;
    }
    const std::string indent(4 * (depth + 1), ' ');
    out += value.is_object() ? '{' : '[';
    bool first = true;
    for (const auto& [name, member] : value.items()) {
        out += first ? "\n" : ",\n";
        first = false;
        out += indent;
        if (value.is_object()) out += json_string(name) + ": ";
        append_value(out, member, depth + 1);
    }
    out += '\n' + std::string(4 * depth, ' ');
    out += value.is_object() ? '}' : ']';
}

}  // namespace

std::string json_string(std::string_view text) {
    // the library does the decoding; QEMU writes the digits of \uXXXX in capitals, and DEL as \u007F
    const std::string dumped = Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
    std::string out;
    for (std::size_t i = 0; i < dumped.size(); ++i) {
        if (dumped[i] == '\x7f') {
            out += "\\u007F";
            continue;
        }
        out += dumped[i];
        if (dumped[i] != '\\') continue;
        out += dumped[++i];
        if (dumped[i] != 'u') continue;
        for (int digit = 0; digit < 4; ++digit) {
            const char c = dumped[++i];
            out += c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
        }
    }
    return out;
}

void print_json(const Json& value) {
    std::string out;
    append_value(out, value, 0);
    out += '\n';
    std::fwrite(out.data(), 1, out.size(), stdout);
}

}  // namespace qimg::cli
