// The verdict on an image from a stranger, as text and as JSON.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/qimg/json_text.hpp"
#include "qimg/operations/inspect.hpp"

namespace qimg::cli {

// Prints the verdict for people: a reason each line, the code first.
void print_verdict(const std::string& name, const Verdict& verdict);
Json verdict_json(const std::string& name, const Verdict& verdict);

}  // namespace qimg::cli
