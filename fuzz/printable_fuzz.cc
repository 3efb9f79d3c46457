// printable(): what comes out of any bytes is safe for a terminal, and text that is safe stays as it is.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/text.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string safe = qimg::printable({reinterpret_cast<const char*>(data), size});
    for (const char c : safe) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
    }
    if (qimg::printable(safe) != safe) std::abort();
    return 0;
}
