// Sizes as people write and read them: "20G", "1.5k", "0x100000"; "2 GiB".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "qimg/error.hpp"

namespace qimg {

// Bytes from a number with an optional suffix b, k or K, M, G, T, P, E (powers of 1024, any case).
// Decimals need a suffix ("1.5G"); hexadecimal takes none ("0x100000"). Errors: invalid_argument, with a
// message that says what is allowed; also for a number at or above 2^64.
Result<std::uint64_t> parse_size(std::string_view text);

// A size that is absolute ("10G"), or relative to what is there ("+10G", "-1M").
struct SizeChange {
    enum class Kind { absolute, grow, shrink };
    Kind kind = Kind::absolute;
    std::uint64_t bytes = 0;

    // The size that `current` becomes; nullopt when that is below 0 or at or above 2^63.
    std::optional<std::uint64_t> apply(std::uint64_t current) const;
};
Result<SizeChange> parse_size_change(std::string_view text);

// Three significant digits and a binary unit, as qemu-img prints sizes: "196 KiB", "1.25 GiB".
std::string format_size(std::uint64_t bytes);

}  // namespace qimg
