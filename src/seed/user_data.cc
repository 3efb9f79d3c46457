// Tells kinds of user-data apart by their first line.
// SPDX-License-Identifier: Apache-2.0
#include "seed/user_data.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.hpp"
#include "base/try.hpp"
#include "seed/cloud_config.hpp"

namespace qimg::seed {

namespace {

struct FirstLine {
    std::string_view text;
    PartKind kind;
    std::string_view mime_type;
};

// cloud-init "User data formats".
constexpr std::array first_lines{
    FirstLine{"#cloud-config", PartKind::cloud_config, "text/cloud-config"},
    FirstLine{"#!", PartKind::shell_script, "text/x-shellscript"},
    FirstLine{"#cloud-boothook", PartKind::boothook, "text/cloud-boothook"},
    FirstLine{"#include", PartKind::include_url, "text/x-include-url"},
    FirstLine{"#include-once", PartKind::include_once_url, "text/x-include-once-url"},
    FirstLine{"#cloud-config-archive", PartKind::config_archive, "text/cloud-config-archive"},
    FirstLine{"#cloud-config-jsonp", PartKind::config_jsonp, "text/cloud-config-jsonp"},
    FirstLine{"#part-handler", PartKind::part_handler, "text/part-handler"},
    FirstLine{"## template: jinja", PartKind::jinja, "text/jinja2"},
};

constexpr std::string_view white_space = " \t\r\n";
constexpr std::string_view gzip_magic = "\x1f\x8b";
constexpr std::size_t mime_header_bytes = 4096;  // how far cloud-init looks for MIME-Version
constexpr std::string_view forms =
    "'#cloud-config', '#!', '## template: jinja', '#include' and the other forms in cloud-init's "
    "documentation";

std::string_view line_at(std::string_view text, std::size_t from) {
    return text.substr(from, text.find('\n', from) - from);
}

std::string_view trimmed(std::string_view line) {
    const std::size_t last = line.find_last_not_of(white_space);
    return last == line.npos ? std::string_view() : line.substr(0, last + 1);
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return out;
}

// The form whose words begin the line; what follows them must not make another word of the last one.
std::optional<PartKind> kind_of(std::string_view line) {
    for (const FirstLine& form : first_lines) {
        if (!line.starts_with(form.text)) continue;
        const bool whole =
            line.size() == form.text.size() || white_space.find(line[form.text.size()]) != line.npos;
        if (whole || form.kind == PartKind::shell_script) return form.kind;
    }
    return std::nullopt;
}

// What remains of a first line without the things that people get wrong: case, spaces, `_` for `-`, number of
// #.
std::string skeleton(std::string_view line) {
    std::string out;
    for (char c : lower(trimmed(line))) {
        if (c == '_') c = '-';
        if (c != '#' && white_space.find(c) == white_space.npos) out += c;
    }
    return out;
}

// The form that an unknown first line was meant to be.
std::optional<std::string_view> meant_by(std::string_view line) {
    constexpr std::size_t line_max = 40;
    constexpr std::size_t distance_max = 2;
    if (line.starts_with("#/") || line.starts_with("# !") || line.starts_with("!#")) return "#!";
    if (line.size() > line_max) return std::nullopt;
    const std::string spelled = skeleton(line);
    std::optional<std::string_view> nearest;
    std::size_t least = distance_max + 1;
    for (const FirstLine& form : first_lines) {
        if (form.kind == PartKind::shell_script) continue;
        const std::size_t distance = edit_distance(spelled, skeleton(form.text));
        if (distance >= least) continue;
        least = distance;
        nearest = form.text;
    }
    return nearest;
}

bool is_mime(std::string_view text) {
    const std::string_view first = line_at(text, 0);
    const std::size_t colon = first.find(':');
    // a header's name, or mbox's "From " line; anything else that speaks of MIME-Version is not a header
    const bool header =
        colon != first.npos && colon != 0 && first.substr(0, colon).find_first_of(" \t#") == first.npos;
    if (!header && !first.starts_with("From ")) return false;
    return lower(text.substr(0, mime_header_bytes)).find("mime-version:") != std::string::npos;
}

std::unexpected<Error> fail_first_line(const SeedText& text, std::size_t line_start) {
    const std::string_view line = trimmed(line_at(text.text, line_start));
    const std::string shown = printable(line.substr(0, 60));
    YamlPosition at;
    at.line += static_cast<std::size_t>(
        std::count(text.text.begin(), text.text.begin() + static_cast<std::ptrdiff_t>(line_start), '\n'));
    if (const auto meant = meant_by(line)) {
        return fail_at(
            text, at, fmt::format("first line is '{}', which cloud-init ignores: write '{}'", shown, *meant));
    }
    // right words, wrong place: below a comment or a licence
    std::size_t number = at.line;
    for (std::size_t from = line_start; from < text.text.size() && number < at.line + 50; ++number) {
        const std::string_view later = line_at(text.text, from);
        if (const auto kind = kind_of(later);
            kind && later.starts_with("#") && kind != PartKind::include_url) {
            return fail_at(
                text, at,
                fmt::format("'{}' is in line {}, but cloud-init looks at the first line only: move it there",
                            printable(trimmed(later)), number));
        }
        from += later.size() + 1;
    }
    const std::size_t colon = line.find(':');
    if (colon != line.npos && is_cloud_config_key(line.substr(0, colon))) {
        return fail_at(text, at,
                       "first line '#cloud-config' is missing: without it cloud-init ignores the file");
    }
    return fail_at(text, at,
                   fmt::format("first line is '{}', which cloud-init ignores: it knows {}", shown, forms));
}

Result<void> check_byte_order_mark(const SeedText& text) {
    const std::string_view start = text.text;
    if (start.starts_with("\xef\xbb\xbf") || start.starts_with("\xff\xfe") || start.starts_with("\xfe\xff")) {
        return fail_at(
            text, {},
            "a byte-order mark hides the first line from cloud-init: save the file as UTF-8 without one");
    }
    return {};
}

// The kernel takes a carriage return for a part of the interpreter's name.
Result<void> check_interpreter_line(const SeedText& text, std::string_view body) {
    const std::string_view line = line_at(body, 0);
    if (!line.starts_with("#!") || !line.ends_with('\r')) return {};
    YamlPosition at;
    at.line += body.data() == text.text.data() ? 0 : 1;
    at.column = line.size();
    return fail_at(text, at,
                   "'#!' line ends in CR LF, and no interpreter has that name: use line ends of LF alone");
}

Result<void> check_top(const SeedText& text, const YamlOutline& outline, YamlKind wanted,
                       std::string_view rule) {
    if (outline.top == YamlKind::nothing || outline.top == wanted) return {};
    return fail_at(text, outline.at, rule);
}

Result<void> check_body(const SeedText& text, std::string_view body, Part& part) {
    switch (part.kind) {
        case PartKind::cloud_config:
            part.outline = TRY(outline_yaml(text));
            TRY(check_top(text, part.outline, YamlKind::mapping,
                          "cloud-config must be a mapping (lines of 'key: value')"));
            part.warnings = unknown_key_warnings(text, part.outline);
            return {};
        case PartKind::config_archive:
        case PartKind::config_jsonp: {
            const YamlOutline outline = TRY(outline_yaml(text));
            return check_top(text, outline, YamlKind::sequence, "this form of cloud-config must be a list");
        }
        case PartKind::shell_script:
            return check_interpreter_line(text, body);
        case PartKind::boothook:
            return check_interpreter_line(text,
                                          body.substr(std::min(body.size(), line_at(body, 0).size() + 1)));
        default:
            return {};
    }
}

}  // namespace

std::string_view mime_type(PartKind kind) {
    if (kind == PartKind::gzip) return "application/gzip";
    const auto* form = std::ranges::find(first_lines, kind, &FirstLine::kind);
    return form == first_lines.end() ? std::string_view() : form->mime_type;
}

Result<Part> check_user_data(const SeedText& text) {
    Part part;
    const std::string_view all = text.text;
    if (all.starts_with(gzip_magic)) {
        part.kind = PartKind::gzip;
        return part;
    }
    TRY(check_byte_order_mark(text));
    const std::size_t start = all.find_first_not_of(white_space);
    if (start == all.npos) return part;
    if (is_mime(all)) {
        part.kind = PartKind::mime;
        return part;
    }
    const std::string_view body = all.substr(start);
    const auto kind = kind_of(line_at(body, 0));
    if (!kind) return fail_first_line(text, start);
    // cloud-init skips white space before the first line, but a kernel or a template engine does not
    if (start != 0 && kind != PartKind::cloud_config) {
        return fail_at(text, {},
                       fmt::format("'{}' must be the very first line: remove what is before it",
                                   printable(trimmed(line_at(body, 0)))));
    }
    part.kind = *kind;
    TRY(check_body(text, body, part));
    return part;
}

}  // namespace qimg::seed
