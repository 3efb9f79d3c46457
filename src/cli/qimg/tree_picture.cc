// Boxes in columns by depth, one row for each image that nothing stands on.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/tree_picture.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "cli/qimg/tree_text.hpp"
#include "qimg/printable.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

namespace {

// in pixels
constexpr double box_width = 230;
constexpr double box_height = 64;
constexpr double column_step = 300;
constexpr double row_step = 82;
constexpr double margin = 24;
constexpr std::size_t name_characters = 26;  // that fit a box
constexpr std::size_t note_characters = 36;

struct Place {
    double x = 0;
    double y = 0;  // of the box's middle
};

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

// At most that many characters; from a longer text the middle goes, since names differ at their ends.
std::string fitted(const std::string& text, std::size_t characters) {
    if (width_of(text) <= characters) return text;
    const auto at = [&](std::size_t count) {
        std::size_t i = 0;
        for (; i < text.size() && (count != 0 || (text[i] & 0xc0) == 0x80); ++i) {
            if ((text[i] & 0xc0) != 0x80) --count;
        }
        return i;
    };
    const std::size_t kept = characters - 1;
    return text.substr(0, at(kept / 2)) + "…" + text.substr(at(width_of(text) - (kept - kept / 2)));
}

// A base stands in the middle of what stands on it.
std::vector<Place> places_of(const std::vector<TreeNode>& nodes) {
    std::vector<Place> places(nodes.size());
    std::vector<double> first(nodes.size(), -1);
    std::vector<double> last(nodes.size(), -1);
    std::vector<bool> is_base(nodes.size(), false);
    for (const TreeNode& node : nodes) {
        if (node.base) is_base[*node.base] = true;
    }
    double row = margin + box_height / 2;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        places[i].x = margin + static_cast<double>(nodes[i].depth) * column_step;
        if (is_base[i]) continue;
        places[i].y = row;
        row += row_step;
    }
    for (std::size_t i = nodes.size(); i-- > 0;) {
        if (is_base[i]) places[i].y = (first[i] + last[i]) / 2;
        if (!nodes[i].base) continue;
        const std::size_t base = *nodes[i].base;
        first[base] = places[i].y;
        if (last[base] < 0) last[base] = places[i].y;
    }
    return places;
}

struct Look {
    const char* fill;
    const char* stroke;
    const char* dash;
};

Look look_of(const TreeNode& node, bool is_base) {
    if (node.missing || node.problem) return {"#fdecea", "#b3261e", " stroke-dasharray=\"5 4\""};
    if (node.pin.state == PinState::changed) return {"#fdecea", "#b3261e", ""};
    if (is_base) return {"#e3eefb", "#2f6db5", ""};
    return {"#e9f5ea", "#3c8544", ""};
}

std::string note_of(const TreeNode& node) {
    const std::string trouble = trouble_of(node);
    if (!trouble.empty()) return trouble;
    std::string note = fmt::format("removing frees {}", format_size(node.freed_bytes));
    if (node.snapshots != 0)
        note += fmt::format(", {} snapshot{}", node.snapshots, node.snapshots == 1 ? "" : "s");
    return note;
}

std::string box(const TreeNode& node, Place at, bool is_base, const std::string& folder) {
    const Look look = look_of(node, is_base);
    const double top = at.y - box_height / 2;
    const std::string trouble = trouble_of(node);
    std::string title = printable(node.path);
    for (const std::string& note : {use_of(node), trouble})
        title += (note.empty() ? "" : ": ") + note;
    const auto line = [&](double down, const char* style, const std::string& text) {
        return fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" {}>{}</text>\n", at.x + 10, top + down, style,
                           escaped(text));
    };
    std::string out = fmt::format(
        "<g><title>{}</title>\n<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"6\" "
        "fill=\"{}\" stroke=\"{}\"{}/>\n",
        escaped(title), at.x, top, box_width, box_height, look.fill, look.stroke, look.dash);
    if (node.use != FileUse::none) {
        out += fmt::format("<circle cx=\"{:.0f}\" cy=\"{:.0f}\" r=\"5\" fill=\"{}\" stroke=\"#c77700\"/>\n",
                           at.x + box_width - 12, top + 12, node.use == FileUse::write ? "#c77700" : "white");
    }
    out += line(20, "font-weight=\"bold\"", fitted(short_name(node, folder), name_characters));
    if (!node.missing && !node.format.empty()) {
        const std::string disk =
            node.virtual_bytes == 0 ? "" : fmt::format(", {} disk", format_size(node.virtual_bytes));
        out += line(38, "font-size=\"12\"",
                    fmt::format("{}{}, {} own", node.format, disk, format_size(node.allocated_bytes)));
    }
    out += line(55, fmt::format("font-size=\"11\" fill=\"{}\"", look.stroke).c_str(),
                fitted(note_of(node), note_characters));
    return out + "</g>\n";
}

// From the overlay's left side to the right side of what it stands on.
std::string arrow(Place overlay, Place base) {
    const double end = base.x + box_width + 2;
    const double bend = (overlay.x + end) / 2;
    return fmt::format(
        "<path d=\"M {:.0f} {:.0f} C {:.0f} {:.0f} {:.0f} {:.0f} {:.0f} {:.0f}\" "
        "marker-end=\"url(#tip)\"/>\n",
        overlay.x, overlay.y, bend, overlay.y, bend, base.y, end, base.y);
}

}  // namespace

std::string tree_picture(const std::vector<TreeNode>& nodes, const std::string& folder) {
    const std::vector<Place> places = places_of(nodes);
    std::vector<bool> is_base(nodes.size(), false);
    double width = box_width + margin;
    double height = margin;
    std::string arrows;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        width = std::max(width, places[i].x + box_width);
        height = std::max(height, places[i].y + box_height / 2);
        if (!nodes[i].base) continue;
        is_base[*nodes[i].base] = true;
        arrows += arrow(places[i], places[*nodes[i].base]);
    }
    std::string out = fmt::format(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 "
        "{0:.0f} "
        "{1:.0f}\" font-family=\"sans-serif\" font-size=\"13\">\n"
        "<defs><marker id=\"tip\" markerWidth=\"9\" markerHeight=\"8\" refX=\"8\" refY=\"4\" orient=\"auto\">"
        "<path d=\"M 0 0 L 9 4 L 0 8 z\" fill=\"#555\"/></marker></defs>\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        "<g fill=\"none\" stroke=\"#555\" stroke-width=\"1.5\">\n",
        width + margin, height + margin);
    out += arrows + "</g>\n";
    for (std::size_t i = 0; i < nodes.size(); ++i)
        out += box(nodes[i], places[i], is_base[i], folder);
    return out + "</svg>\n";
}

}  // namespace qimg::cli
