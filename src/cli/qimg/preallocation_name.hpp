// The names of the ways to allocate space ahead.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "qimg/operations/create.hpp"

namespace qimg::cli {

inline std::optional<Preallocation> preallocation_named(std::string_view name) {
    if (name == "off") return Preallocation::off;
    if (name == "metadata") return Preallocation::metadata;
    if (name == "falloc") return Preallocation::falloc;
    if (name == "full") return Preallocation::full;
    return std::nullopt;
}

}  // namespace qimg::cli
