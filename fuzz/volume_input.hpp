// Inputs of targets that grow file systems: a number of KiB, then stretches of bytes with their places in a volume that
// is zero elsewhere; and what those targets say when something does not hold.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "base/endian.hpp"
#include "guest/volume.hpp"
#include "qimg/printable.hpp"

namespace qimg::fuzz {

[[noreturn]] inline void does_not_hold(std::string_view what) {
    fmt::print(stderr, "does not hold: {}\n", what);
    std::abort();
}

inline void check_reason(const Error& refusal) {
    if (refusal.message.empty() || printable(refusal.message) != refusal.message)
        does_not_hold("a refusal has a reason");
}

inline std::uint64_t kib_of(std::span<const std::byte> input) {
    return input.size() < 4 ? 0 : std::uint64_t{load<le32>(input)};
}

// Places are of the type `At`. Returns where the stretches begin that lie inside the volume; others are none.
template <class At>
std::vector<std::uint64_t> write_stretches(guest::Volume& volume, std::span<const std::byte> input) {
    struct Stretch {
        At at;
        le16 length;
    };
    std::vector<std::uint64_t> starts;
    for (std::size_t place = 4; place + sizeof(Stretch) < input.size();) {
        const auto stretch = load<Stretch>(input.subspan(place));
        place += sizeof(Stretch);
        const std::size_t length = std::min<std::size_t>(stretch.length, input.size() - place);
        if (volume.write(stretch.at, input.subspan(place, length))) starts.push_back(stretch.at);
        place += length;
    }
    return starts;
}

}  // namespace qimg::fuzz
