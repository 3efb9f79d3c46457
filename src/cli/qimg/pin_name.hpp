// Words about pins: --pin none|tables|full, in the commands that have it, and what JSON says of one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "cli/qimg/messages.hpp"
#include "qimg/layout.hpp"
#include "qimg/operations/pins.hpp"

namespace qimg::cli {

// Called as qemu-img, headers are that program's to the letter.
inline PinMode default_pin() {
    return is_drop_in() ? PinMode::none : PinMode::tables;
}

// Empty, with the error printed, for any other word.
inline std::optional<PinMode> parse_pin_mode(std::string_view name) {
    if (name == "none") return PinMode::none;
    if (name == "tables") return PinMode::tables;
    if (name == "full") return PinMode::full;
    print_error("--pin must be used with none, tables or full as argument.");
    return std::nullopt;
}

inline const char* word_for(PinState state) {
    switch (state) {
        case PinState::none:
            return "none";
        case PinState::unknown:
            return "unknown";
        case PinState::same:
            return "same";
        case PinState::changed:
            return "changed";
    }
    return "";
}

}  // namespace qimg::cli
