// UTF-16 to UTF-8, one character after the other; whether it is safe to print is left to others.
// SPDX-License-Identifier: Apache-2.0
#include "guest/utf16.hpp"

namespace qimg::guest {

namespace {

void append(std::string& text, char32_t c) {
    const auto put = [&](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (c < 0x80) {
        put(c);
        return;
    }
    if (c < 0x800) {
        put(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        put(0xe0 | c >> 12);
        put(0x80 | (c >> 6 & 0x3f));
    } else {
        put(0xf0 | c >> 18);
        put(0x80 | (c >> 12 & 0x3f));
        put(0x80 | (c >> 6 & 0x3f));
    }
    put(0x80 | (c & 0x3f));
}

bool is_within(char32_t c, char32_t first, char32_t last) {
    return c >= first && c <= last;
}

}  // namespace

std::string utf8_of(std::span<const std::uint8_t> name) {
    const auto unit = [&](std::size_t i) -> char32_t {
        return i + 1 < name.size() ? static_cast<char32_t>(name[i] | name[i + 1] << 8) : 0;
    };
    std::string text;
    for (std::size_t i = 0; unit(i) != 0; i += 2) {
        char32_t c = unit(i);
        if (is_within(c, 0xd800, 0xdbff) && is_within(unit(i + 2), 0xdc00, 0xdfff)) {
            c = 0x10000 + ((c - 0xd800) << 10) + (unit(i + 2) - 0xdc00);
            i += 2;
        }
        append(text, c);
    }
    return text;
}

}  // namespace qimg::guest
