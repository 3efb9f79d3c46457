// Level-1 and Joliet file identifiers.
// SPDX-License-Identifier: Apache-2.0
#include "iso9660/identifiers.hpp"

#include <algorithm>
#include <set>

#include "base/text.hpp"

namespace qimg::iso9660 {

namespace {

constexpr std::size_t stem_max = 8;
constexpr std::size_t extension_max = 3;

// d-characters (ECMA-119 7.4.1): A to Z, 0 to 9, underscore.
std::string d_characters(std::string_view text, std::size_t max) {
    std::string out;
    for (char c : text.substr(0, max)) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        const bool allowed = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        out += allowed ? c : '_';
    }
    return out;
}

}  // namespace

Result<void> check_names(std::span<const VolumeFile> files) {
    std::set<std::string_view> seen;
    for (const VolumeFile& file : files) {
        const std::string_view name = file.name;
        const auto refuse = [&](std::string_view why) {
            return failf(ErrorKind::invalid_argument, "file name '{}': {}", printable(name), why);
        };
        if (name.empty() || name == "." || name == "..") return refuse("not a name for a file");
        if (name.size() > joliet_name_max) return refuse("longer than Joliet's 64 characters");
        const bool plain = std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7f; });
        if (!plain) return refuse("only printable ASCII is possible on an ISO 9660 volume made here");
        if (name.find_first_of("*/:;?\\") != name.npos)
            return refuse("Joliet has none of the characters */:;?\\");
        if (!seen.insert(name).second) return refuse("occurs twice");
    }
    return {};
}

std::vector<std::string> level_1_identifiers(std::span<const VolumeFile> files) {
    std::vector<std::string> identifiers;
    std::set<std::string> taken;
    for (const VolumeFile& file : files) {
        const std::string_view name = file.name;
        // a leading dot hides a file, it does not begin an extension
        const std::size_t dot = name.find_last_of('.');
        const bool has_extension = dot != name.npos && dot != 0;
        std::string stem = d_characters(name.substr(0, has_extension ? dot : name.npos), stem_max);
        const std::string extension =
            has_extension ? d_characters(name.substr(dot + 1), extension_max) : std::string();
        const auto identifier = [&] { return stem + "." + extension + ";1"; };
        const std::string stem_start = stem.substr(0, stem_max - 3);
        for (int number = 0; !taken.insert(identifier()).second; ++number) {
            stem = fmt::format("{}{:03}", stem_start, number);
        }
        identifiers.push_back(identifier());
    }
    return identifiers;
}

std::string ucs2(std::string_view ascii) {
    std::string out;
    for (char c : ascii) {
        out += '\0';
        out += c;
    }
    return out;
}

}  // namespace qimg::iso9660
