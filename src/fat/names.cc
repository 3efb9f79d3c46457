// Short names, long-name entries and labels of FAT volumes.
// SPDX-License-Identifier: Apache-2.0
#include "fat/names.hpp"

#include <algorithm>
#include <set>

#include "base/text.hpp"
#include "qimg/units.hpp"

namespace qimg::fat {

namespace {

constexpr std::size_t name_max = 255;
constexpr std::size_t stem_max = 8;
constexpr std::size_t extension_max = 3;
constexpr std::string_view never_in_names = "\"*/:<>?\\|";
constexpr std::string_view marks_in_short_names = "$%'-_@~`!(){}^#&";

char capital(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

std::string capitals(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), capital);
    return out;
}

bool is_letter_or_digit(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// What a short name keeps of a long one: no spaces and dots, `_` for what it cannot have.
std::string short_characters(std::string_view text, std::size_t max) {
    std::string out;
    for (char c : capitals(text)) {
        if (c == ' ' || c == '.') continue;
        if (out.size() == max) break;
        out += is_letter_or_digit(c) || marks_in_short_names.find(c) != marks_in_short_names.npos ? c : '_';
    }
    return out;
}

ShortName padded(std::string_view stem, std::string_view extension) {
    ShortName name;
    name.fill(' ');
    std::ranges::copy(stem.substr(0, stem_max), name.begin());
    std::ranges::copy(extension.substr(0, extension_max), name.begin() + stem_max);
    return name;
}

// Ties long entries to their short one (FAT specification, section 7.2).
std::uint8_t checksum(const ShortName& name) {
    unsigned int sum = 0;
    for (char c : name)
        sum = (((sum & 1) << 7) + (sum >> 1) + static_cast<unsigned char>(c)) & 0xff;
    return static_cast<std::uint8_t>(sum);
}

}  // namespace

Result<void> check_names(std::span<const VolumeFile> files) {
    std::set<std::string> seen;
    for (const VolumeFile& file : files) {
        const std::string_view name = file.name;
        const auto refuse = [&](std::string_view why) {
            return failf(ErrorKind::invalid_argument, "file name '{}': {}", printable(name), why);
        };
        if (name.empty() || name.ends_with('.') || name.ends_with(' '))
            return refuse("not a name for a file");
        if (name.size() > name_max) return refuse("longer than VFAT's 255 characters");
        const bool plain = std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7f; });
        if (!plain) return refuse("only printable ASCII is possible on a FAT volume made here");
        if (name.find_first_of(never_in_names) != name.npos) {
            return refuse("FAT has none of the characters \"*/:<>?\\|");
        }
        if (!seen.insert(capitals(name)).second) return refuse("occurs twice");
    }
    return {};
}

Result<ShortName> label_name(std::string_view label) {
    const std::string name = capitals(label);
    const bool plain =
        std::ranges::all_of(name, [](char c) { return is_letter_or_digit(c) || c == '_' || c == '-'; });
    if (name.empty() || name.size() > ShortName().size() || !plain) {
        return failf(ErrorKind::invalid_argument, "label '{}': must be 1 to 11 letters, digits, '_' or '-'",
                     printable(label));
    }
    ShortName padded_name;
    padded_name.fill(' ');
    std::ranges::copy(name, padded_name.begin());
    return padded_name;
}

std::vector<ShortName> short_names(std::span<const VolumeFile> files) {
    std::vector<ShortName> names;
    std::set<ShortName> taken;
    for (const VolumeFile& file : files) {
        const std::string_view name = file.name;
        const std::size_t dot = name.find_last_of('.');
        const bool has_extension = dot != name.npos && dot != 0;
        const std::string stem = short_characters(name.substr(0, has_extension ? dot : name.npos), stem_max);
        const std::string extension =
            has_extension ? short_characters(name.substr(dot + 1), extension_max) : std::string();
        for (int number = 1;; ++number) {
            const std::string tail = fmt::format("~{}", number);
            const ShortName candidate = padded(stem.substr(0, stem_max - tail.size()) + tail, extension);
            if (!taken.insert(candidate).second) continue;
            names.push_back(candidate);
            break;
        }
    }
    return names;
}

std::vector<LongEntry> long_entries(std::string_view name, const ShortName& short_name) {
    // past the name's end come one zero and then ones
    const auto character = [&](std::size_t i) -> le16 {
        if (i < name.size()) return static_cast<std::uint8_t>(name[i]);
        return static_cast<std::uint16_t>(i == name.size() ? 0x0000 : 0xffff);
    };
    std::vector<LongEntry> entries;
    const std::size_t count = divide_up(name.size(), long_entry_characters);
    for (std::size_t order = count; order > 0; --order) {
        LongEntry entry;
        entry.order = static_cast<std::uint8_t>(order == count ? order | last_long_entry : order);
        entry.checksum = checksum(short_name);
        std::size_t at = (order - 1) * long_entry_characters;
        for (le16& c : entry.characters_1)
            c = character(at++);
        for (le16& c : entry.characters_2)
            c = character(at++);
        for (le16& c : entry.characters_3)
            c = character(at++);
        entries.push_back(entry);
    }
    return entries;
}

}  // namespace qimg::fat
