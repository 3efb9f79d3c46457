// Reading what matters of a descriptor, and writing a new one. The text may be anybody's.
// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/descriptor.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <random>

#include "base/text.hpp"
#include "base/try.hpp"
#include "qimg/units.hpp"

namespace qimg::vmdk {

namespace {

constexpr std::string_view cid_key = "CID";
constexpr std::string_view blanks = " \t\r";

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == text.npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

// Lines are cut off one by one.
std::string_view next_line(std::string_view& text) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
}

// The value of the line "KEY = VALUE", without quotes.
std::optional<std::string_view> value_in(std::string_view line, std::string_view key) {
    const std::size_t equals = line.find('=');
    if (equals == line.npos || trimmed(line.substr(0, equals)) != key) return std::nullopt;
    std::string_view value = trimmed(line.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
        value = value.substr(1, value.size() - 2);
    return value;
}

std::optional<std::uint32_t> hexadecimal_number(std::string_view text) {
    if (text.size() > 8) return std::nullopt;
    std::uint32_t number = 0;
    const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
    if (error != std::errc() || stopped != text.data() + text.size()) return std::nullopt;
    return number;
}

// vmdk "The Extent Description": ACCESS SECTORS TYPE …
bool is_extent(std::string_view line) {
    return line.starts_with("RW ") || line.starts_with("RDONLY ") || line.starts_with("NOACCESS ");
}

Result<void> take_cid(std::string_view line, std::string_view key, std::optional<std::uint32_t>& cid) {
    const auto value = value_in(line, key);
    if (!value || cid) return {};
    cid = hexadecimal_number(*value);
    if (!cid) return failf(ErrorKind::corrupt, "invalid VMDK image descriptor: {} is no number", key);
    return {};
}

Result<void> check_type(std::string_view type) {
    if (type == "monolithicSparse" || type == "streamOptimized") return {};
    return failf(ErrorKind::unsupported,
                 "Disks of the type '{}' are not supported, only those of one file: monolithicSparse and "
                 "streamOptimized",
                 printable(type));
}

// What stays inside its quotes, and on its line.
Result<void> check_value(std::string_view option, std::string_view value) {
    constexpr std::size_t length_max = 64;
    const bool plain =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c <= '~' && c != '"'; });
    if (plain && value.size() <= length_max) return {};
    return failf(ErrorKind::invalid_argument,
                 "{} takes at most {} printable ASCII characters other than quotes", option, length_max);
}

}  // namespace

Result<Descriptor> parse_descriptor(std::string_view text) {
    text = text.substr(0, text.find('\0'));
    std::optional<std::uint32_t> cid;
    std::optional<std::uint32_t> parent_cid;
    std::optional<std::string_view> type;
    std::string_view parent;
    std::size_t extents = 0;
    while (!text.empty()) {
        const std::string_view line = trimmed(next_line(text));
        if (line.starts_with('#')) continue;
        if (is_extent(line)) ++extents;
        TRY(take_cid(line, cid_key, cid));
        TRY(take_cid(line, "parentCID", parent_cid));
        if (!type) type = value_in(line, "createType");
        if (parent.empty()) parent = value_in(line, "parentFileNameHint").value_or("");
    }
    if (!cid) return fail(ErrorKind::corrupt, "invalid VMDK image descriptor: it has no CID");
    if (!type) return fail(ErrorKind::corrupt, "invalid VMDK image descriptor: it has no createType");
    TRY(check_type(*type));
    if (extents != 1)
        return failf(ErrorKind::corrupt, "invalid VMDK image descriptor: it has {} extents", extents);
    if (!parent.empty() || parent_cid.value_or(no_parent) != no_parent) {
        return failf(ErrorKind::unsupported,
                     "The image stands on another one{}: disks of several files are not supported",
                     parent.empty() ? "" : fmt::format(", '{}'", printable(parent)));
    }
    return Descriptor{*cid, parent_cid.value_or(no_parent), std::string(*type)};
}

std::string_view cid_digits(std::string_view text) {
    text = text.substr(0, text.find('\0'));
    while (!text.empty()) {
        const std::string_view line = trimmed(next_line(text));
        const auto value = value_in(line, cid_key);
        if (value && !line.starts_with('#')) return *value;
    }
    return {};
}

std::string_view extent_digits(std::string_view text) {
    text = text.substr(0, text.find('\0'));
    while (!text.empty()) {
        std::string_view line = trimmed(next_line(text));
        if (!is_extent(line)) continue;
        line.remove_prefix(line.find(' '));
        line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
        return line.substr(0, line.find_first_not_of("0123456789"));
    }
    return {};
}

std::string another_cid(std::string_view digits) {
    std::string number;
    do {
        number = fmt::format("{:08x}", new_cid()).substr(8 - digits.size());
    } while (number == digits);
    return number;
}

std::uint32_t new_cid() {
    std::random_device random;
    const auto number = static_cast<std::uint32_t>(random());
    return number == no_parent ? 0 : number;
}

Result<std::string> write_descriptor(const VmdkLayout& layout, std::uint64_t size, std::string_view name,
                                     std::uint32_t cid) {
    TRY(check_value("hwversion", layout.hardware_version));
    TRY(check_value("toolsversion", layout.tools_version));
    // the name is for people: what could be taken for the end of it is left out
    std::string shown = printable(name);
    std::replace(shown.begin(), shown.end(), '"', '_');
    const std::uint64_t heads = layout.adapter_type == "ide" ? 16 : 255;
    constexpr std::uint64_t sectors_per_track = 63;
    return fmt::format(
        "# Disk DescriptorFile\n"
        "version=1\n"
        "CID={:08x}\n"
        "parentCID=ffffffff\n"
        "createType=\"{}\"\n"
        "\n"
        "# Extent description\n"
        "RW {} SPARSE \"{}\"\n"
        "\n"
        "# The Disk Data Base\n"
        "#DDB\n"
        "\n"
        "ddb.virtualHWVersion = \"{}\"\n"
        "ddb.geometry.cylinders = \"{}\"\n"
        "ddb.geometry.heads = \"{}\"\n"
        "ddb.geometry.sectors = \"{}\"\n"
        "ddb.adapterType = \"{}\"\n"
        "ddb.toolsVersion = \"{}\"\n",
        cid, layout.subformat, size / sector_bytes, shown, layout.hardware_version,
        size / sector_bytes / (heads * sectors_per_track), heads, sectors_per_track, layout.adapter_type,
        layout.tools_version);
}

}  // namespace qimg::vmdk
