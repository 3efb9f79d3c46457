// Lines with branches, columns with sizes.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/tree_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/qimg/pin_name.hpp"
#include "qimg/printable.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

namespace {

struct Strokes {
    std::string_view fork, last, pass, gap;
};
constexpr Strokes unicode{"├── ", "└── ", "│   ", "    "};
constexpr Strokes ascii{"|-- ", "`-- ", "|   ", "    "};

// The first of the variables that is set decides, as in setlocale(3).
bool is_utf8_locale() {
    for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
        const char* const value = std::getenv(name);
        if (value == nullptr || *value == '\0') continue;
        std::string text(value);
        std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
        return text.find("utf-8") != text.npos || text.find("utf8") != text.npos;
    }
    return false;
}

// Whether each node is the last one that stands on its base.
std::vector<bool> last_ones(const std::vector<TreeNode>& nodes) {
    std::vector<bool> last(nodes.size(), false);
    std::vector<bool> has_later(nodes.size(), false);
    for (std::size_t i = nodes.size(); i-- > 0;) {
        if (!nodes[i].base) continue;
        last[i] = !has_later[*nodes[i].base];
        has_later[*nodes[i].base] = true;
    }
    return last;
}

// What stands before each name.
std::vector<std::string> branches(const std::vector<TreeNode>& nodes, const Strokes& strokes) {
    const std::vector<bool> last = last_ones(nodes);
    std::vector<std::string> drawn(nodes.size());
    std::vector<std::string> below(nodes.size());  // what those that stand on it begin with
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (!nodes[i].base) continue;
        const std::string& before = below[*nodes[i].base];
        drawn[i] = before + std::string(last[i] ? strokes.last : strokes.fork);
        below[i] = before + std::string(last[i] ? strokes.gap : strokes.pass);
    }
    return drawn;
}

Json node_json(const TreeNode& node) {
    Json json = {{"filename", node.path}};
    if (!node.format.empty()) json["format"] = node.format;
    if (node.missing) json["missing"] = true;
    if (node.problem) json["problem"] = *node.problem;
    json["virtual-size"] = node.virtual_bytes;
    json["actual-size"] = node.allocated_bytes;
    json["frees"] = node.freed_bytes;
    if (node.snapshots != 0) json["snapshots"] = node.snapshots;
    if (node.data_file) json["data-file"] = *node.data_file;
    if (node.use != FileUse::none) json["in-use"] = node.use == FileUse::write ? "write" : "read";
    if (node.base) {
        json["base-pin"] = {
            {"state", word_for(node.pin.state)}, {"changes", node.pin.changes}, {"hints", node.pin.hints}};
    }
    return json;
}

}  // namespace

std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string short_name(const TreeNode& node, const std::string& folder) {
    std::string start = folder;
    if (!start.ends_with('/')) start += '/';
    const bool is_inside = node.path.starts_with(start) && node.path.size() > start.size();
    return printable(is_inside ? node.path.substr(start.size()) : node.path);
}

std::string use_of(const TreeNode& node) {
    switch (node.use) {
        case FileUse::none:
            break;
        case FileUse::read:
            return "in use: read";
        case FileUse::write:
            return "in use: read and written";
    }
    return {};
}

std::string trouble_of(const TreeNode& node) {
    std::string text;
    const auto add = [&](const std::string& more) { text += (text.empty() ? "" : "; ") + more; };
    if (node.missing) {
        add("missing");
    } else if (node.problem) {
        add(printable(*node.problem));
    }
    if (node.pin.state == PinState::changed) {
        std::string changes;
        for (const std::string& change : node.pin.changes)
            changes += (changes.empty() ? "" : ", ") + change;
        add("its base changed: " + changes);
    }
    return text;
}

void print_tree(const std::vector<TreeNode>& nodes, const std::string& folder) {
    const std::vector<std::string> drawn = branches(nodes, is_utf8_locale() ? unicode : ascii);
    std::vector<std::string> names;
    std::size_t width = 4;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        names.push_back(drawn[i] + short_name(nodes[i], folder));
        width = std::max(width, width_of(names.back()));
    }
    if (nodes.empty()) return;
    fmt::print("{:<{}}  {:>10}  {:>10}  {:>10}\n", "NAME", width, "VIRTUAL", "OWN", "FREES");
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const TreeNode& node = nodes[i];
        const bool has_file = !node.missing && !node.format.empty();
        const auto size = [&](bool known, std::uint64_t bytes) { return known ? format_size(bytes) : "-"; };
        const std::string padding(width - width_of(names[i]), ' ');
        std::string notes;
        for (const std::string& note : {use_of(node), trouble_of(node)}) {
            if (!note.empty()) notes += (notes.empty() ? "  " : "; ") + note;
        }
        fmt::print("{}{}  {:>10}  {:>10}  {:>10}{}\n", names[i], padding,
                   size(has_file && node.virtual_bytes != 0, node.virtual_bytes),
                   size(has_file, node.allocated_bytes), format_size(node.freed_bytes), notes);
    }
}

Json tree_json(const std::vector<TreeNode>& nodes) {
    // from the end on, each is complete when its base takes it
    std::vector<Json> complete(nodes.size());
    std::vector<std::vector<std::size_t>> overlays(nodes.size());
    Json roots = Json::array();
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i].base) overlays[*nodes[i].base].push_back(i);
    }
    for (std::size_t i = nodes.size(); i-- > 0;) {
        complete[i] = node_json(nodes[i]);
        for (const std::size_t overlay : overlays[i])
            complete[i]["overlays"].push_back(std::move(complete[overlay]));
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (!nodes[i].base) roots.push_back(std::move(complete[i]));
    }
    return roots;
}

}  // namespace qimg::cli
