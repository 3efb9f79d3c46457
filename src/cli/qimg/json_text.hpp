// JSON on stdout in QEMU's layout: four spaces, "name": value, other than plain ASCII as \uXXXX.
//
// Members are printed in the order they were added: QEMU's own order is fixed but not sorted, so each
// command adds them in that order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace qimg::cli {

using Json = nlohmann::ordered_json;

// Prints the value and a newline.
void print_json(const Json& value);
// The text as a JSON string, quotes included; what is not UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);

}  // namespace qimg::cli
