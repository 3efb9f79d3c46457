// Writes MIME multi-part archives.
// SPDX-License-Identifier: Apache-2.0
#include "seed/mime.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "seed/digest.hpp"

namespace qimg::seed {

namespace {

constexpr std::string_view base64_alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t line_bytes = 57;  // become 76 characters

// Whether a mail parser gives the text back byte for byte when it stands there unencoded: Python's decodes
// other bytes than ASCII as Latin-1, and takes every kind of line end for the same.
bool survives_as_it_is(std::string_view text) {
    return std::ranges::all_of(text,
                               [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t'; });
}

// A hash of the parts cannot occur in one of them.
std::string boundary_of(const std::vector<MimePart>& parts) {
    std::vector<std::string_view> texts;
    for (const MimePart& part : parts)
        texts.push_back(part.text);
    return "part-" + hexadecimal(digest_of(texts), 32);
}

}  // namespace

std::string base64_lines(std::string_view bytes) {
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::string_view group = bytes.substr(at, 3);
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            bits = bits << 8 | (i < group.size() ? static_cast<unsigned char>(group[i]) : 0U);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            out += i <= group.size() ? base64_alphabet[bits >> (18 - 6 * i) & 0x3f] : '=';
        }
        const bool line_ends = (at + 3) % line_bytes == 0 || at + 3 >= bytes.size();
        if (line_ends) out += '\n';
    }
    return out;
}

std::string mime_archive(const std::vector<MimePart>& parts) {
    const std::string boundary = boundary_of(parts);
    std::string out =
        fmt::format("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{}\"\n", boundary);
    std::size_t number = 0;
    for (const MimePart& part : parts) {
        ++number;
        out += fmt::format("\n--{}\n", boundary);
        if (part.kind == PartKind::mime) {
            // has headers of its own
            out += part.text;
            continue;
        }
        const bool plain = part.kind != PartKind::gzip && survives_as_it_is(part.text);
        // cloud-init runs scripts in the order of their file names
        out += fmt::format(
            "Content-Type: {}{}\nContent-Transfer-Encoding: {}\n"
            "Content-Disposition: attachment; filename=\"part-{:03}\"\n\n",
            mime_type(part.kind), part.kind == PartKind::gzip ? "" : "; charset=\"utf-8\"",
            plain ? "7bit" : "base64", number);
        out += plain ? std::string(part.text) : base64_lines(part.text);
    }
    return out + fmt::format("\n--{}--\n", boundary);
}

}  // namespace qimg::seed
