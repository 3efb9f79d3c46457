// Checks meta-data and edits it in place, so that its comments and order survive.
// SPDX-License-Identifier: Apache-2.0
#include "seed/meta_data.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "base/try.hpp"
#include "seed/yaml.hpp"

namespace qimg::seed {

namespace {

constexpr std::size_t label_max = 63;
constexpr std::size_t hostname_max = 253;
constexpr std::array<std::string_view, 3> modes{"local", "net", "disabled"};

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_label(std::string_view label) {
    if (label.empty() || label.size() > label_max || label.starts_with('-') || label.ends_with('-'))
        return false;
    return std::ranges::all_of(label, [](char c) { return is_letter_or_digit(c) || c == '-'; });
}

Result<void> check_entry(const SeedText& text, const YamlEntry& entry) {
    const bool has_text = entry.kind == YamlKind::scalar && !entry.is_null() && !entry.text.empty();
    if (entry.key == "instance-id" && !has_text) {
        return fail_at(text, entry.at, "instance-id must be a text and not empty");
    }
    const bool names_host = entry.key == "local-hostname" || entry.key == "hostname";
    if (names_host && !entry.is_null() && (!has_text || !is_hostname(entry.text))) {
        return fail_at(text, entry.at,
                       fmt::format("{} '{}' is no host name: letters, digits, '-' and dots only", entry.key,
                                   printable(entry.text)));
    }
    if (entry.key == "dsmode" && std::ranges::find(modes, std::string_view(entry.text)) == modes.end()) {
        return fail_at(text, entry.at,
                       fmt::format("dsmode '{}' is none of local, net, disabled", printable(entry.text)));
    }
    return {};
}

Result<YamlOutline> checked_outline(const SeedText& text) {
    YamlOutline outline = TRY(outline_yaml(text));
    if (outline.top != YamlKind::nothing && outline.top != YamlKind::mapping) {
        return fail_at(text, outline.at,
                       "meta-data must be a mapping (lines of 'key: value', or JSON in braces)");
    }
    for (const YamlEntry& entry : outline.entries) {
        if (entry.parent.empty()) TRY(check_entry(text, entry));
    }
    return outline;
}

// `text` with one more key, or with another value for a key that it has.
Result<std::string> with_setting(const SeedText& text, const Setting& setting) {
    const YamlOutline outline = TRY(outline_yaml(text));
    const std::string value = yaml_quoted(setting.value);
    std::string out = text.text;
    if (const YamlEntry* entry = outline.find(setting.key)) {
        const bool replaceable =
            entry->kind == YamlKind::scalar && !entry->block && entry->value_end > entry->value_begin;
        if (!replaceable) {
            return failf(ErrorKind::invalid_argument,
                         "{}:{}:{}: {} cannot be replaced here: remove it or the option that sets it",
                         printable(text.name), entry->at.line, entry->at.column, setting.key);
        }
        return out.replace(entry->value_begin, entry->value_end - entry->value_begin, value);
    }
    if (outline.top == YamlKind::nothing) {
        if (!out.empty() && !out.ends_with('\n')) out += '\n';
        return out + fmt::format("{}: {}\n", setting.key, value);
    }
    if (outline.flow) {
        const std::string_view separator = outline.entries.empty() ? "" : ", ";
        return out.insert(outline.at.offset + 1, fmt::format("\"{}\": {}{}", setting.key, value, separator));
    }
    // before the first key, and as far to the right as that one
    const std::string indent(outline.at.column - 1, ' ');
    return out.insert(outline.at.offset, fmt::format("{}: {}\n{}", setting.key, value, indent));
}

}  // namespace

bool is_hostname(std::string_view name) {
    if (name.size() > hostname_max) return false;
    for (;;) {
        const std::size_t dot = name.find('.');
        if (!is_label(name.substr(0, dot))) return false;
        if (dot == name.npos) return true;
        name.remove_prefix(dot + 1);
    }
}

Result<MetaData> check_meta_data(const SeedText& text) {
    const YamlOutline outline = TRY(checked_outline(text));
    MetaData meta_data;
    meta_data.text = text.text;
    if (const YamlEntry* id = outline.find("instance-id")) meta_data.instance_id = id->text;
    return meta_data;
}

Result<MetaData> apply_settings(const SeedText& text, const std::vector<Setting>& settings) {
    SeedText edited = text;
    for (const Setting& setting : settings) {
        std::string next = TRY(with_setting(edited, setting));
        edited.text = std::move(next);
    }
    return check_meta_data(edited);
}

}  // namespace qimg::seed
