// printable: text from a file or a command line, made safe for a person's terminal.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace qimg {

// Control characters and invalid UTF-8 as \xNN, so that a name in a header cannot drive a terminal.
std::string printable(std::string_view text);

}  // namespace qimg
