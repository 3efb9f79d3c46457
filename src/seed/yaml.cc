// Walks libfyaml's events; no document is built, so that memory follows the size of the text.
// SPDX-License-Identifier: Apache-2.0
#include "seed/yaml.hpp"

#include <libfyaml.h>

#include <algorithm>
#include <memory>
#include <unordered_set>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::seed {

namespace {

struct ParserCloser {
    void operator()(fy_parser* parser) const { fy_parser_destroy(parser); }
};
struct DiagCloser {
    void operator()(fy_diag* diag) const { fy_diag_destroy(diag); }
};
using Parser = std::unique_ptr<fy_parser, ParserCloser>;
using Diag = std::unique_ptr<fy_diag, DiagCloser>;

constexpr std::string_view core_tags = "tag:yaml.org,2002:";
constexpr std::string_view merge_key = "<<";
constexpr std::string_view nested_key = "network";

// libfyaml's marks of quoted scalars leave the quotes out; ours include them.
bool is_quoted(fy_event& event) {
    if (event.type != FYET_SCALAR) return false;
    const fy_scalar_style style = fy_token_scalar_style(fy_event_get_token(&event));
    return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
}

YamlPosition position_of(const fy_mark* mark) {
    if (!mark) return {};
    return {static_cast<std::size_t>(mark->line) + 1, static_cast<std::size_t>(mark->column) + 1,
            mark->input_pos};
}

std::string text_of_token(fy_token* token) {
    std::size_t length = 0;
    const char* text = token ? fy_token_get_text(token, &length) : nullptr;
    return text ? std::string(text, length) : std::string();
}

YamlPosition start_of(fy_event& event) {
    YamlPosition at = position_of(fy_event_start_mark(&event));
    if (is_quoted(event)) {
        --at.column;
        --at.offset;
    }
    return at;
}

YamlKind kind_of(const fy_event& event) {
    switch (event.type) {
        case FYET_SCALAR:
            return YamlKind::scalar;
        case FYET_ALIAS:
            return YamlKind::alias;
        case FYET_SEQUENCE_START:
            return YamlKind::sequence;
        case FYET_MAPPING_START:
            return YamlKind::mapping;
        default:
            return YamlKind::nothing;
    }
}

// PyYAML's reader refuses these before its parser sees anything: what is no UTF-8, and control characters.
Result<void> check_characters(const SeedText& text) {
    YamlPosition at;
    for (std::string_view rest = text.text; !rest.empty();) {
        const std::size_t length = utf8_length(rest);
        const auto first = static_cast<unsigned char>(rest[0]);
        if (length == 0) {
            return fail_at(text, at,
                           fmt::format("byte \\x{:02x} is not UTF-8: convert the file to UTF-8", first));
        }
        const bool c0 = length == 1 && (first < 0x20 || first == 0x7f) && rest.find_first_of("\t\n\r") != 0;
        const bool c1 =
            length == 2 && first == 0xc2 && static_cast<unsigned char>(rest[1]) < 0xa0 && rest[1] != '\x85';
        if (c0 || c1) {
            return fail_at(text, at,
                           fmt::format("control character {}: YAML takes it only escaped, in double quotes",
                                       printable(rest.substr(0, length))));
        }
        at.offset += length;
        ++at.column;
        if (first == '\n') at = {at.line + 1, 1, at.offset};
        rest.remove_prefix(length);
    }
    return {};
}

// Follows the events of one document and notes what the outline is to hold.
class Walk {
  public:
    explicit Walk(const SeedText& text) : text_(text) {}

    Result<void> take(fy_event& event) {
        if (event.type == FYET_DOCUMENT_START && documents_++ > 0) {
            return fail_at(text_, position_of(fy_event_start_mark(&event)),
                           "a second YAML document begins: cloud-init takes one only");
        }
        if (event.type == FYET_MAPPING_END || event.type == FYET_SEQUENCE_END) open_.pop_back();
        const YamlKind kind = kind_of(event);
        if (kind == YamlKind::nothing) return {};
        const YamlPosition at = start_of(event);
        if (++nodes_ > yaml_nodes_max) {
            return fail_at(text_, at,
                           fmt::format("more than {} YAML nodes: too much for cloud-init", yaml_nodes_max));
        }
        TRY(check_anchors_and_tag(event, at));
        if (!open_.empty() && open_.back().mapping && open_.back().key_next) {
            TRY(take_key(event, kind, at));
        } else {
            take_value(event, kind, at);
        }
        if (kind == YamlKind::mapping || kind == YamlKind::sequence) {
            if (open_.size() == yaml_depth_max) {
                return fail_at(text_, at, fmt::format("nested deeper than {} levels", yaml_depth_max));
            }
            open_.push_back(Open{kind == YamlKind::mapping, true, {}, {}, {}});
        }
        return {};
    }

    YamlOutline finish() { return std::move(outline_); }

  private:
    struct Open {  // a sequence or mapping that has begun
        bool mapping;
        bool key_next;
        std::string key;  // the last one
        YamlPosition key_at;
        std::unordered_set<std::string> keys;
    };

    Result<void> check_anchors_and_tag(fy_event& event, YamlPosition at) {
        if (event.type == FYET_ALIAS) {
            const std::string name = text_of_token(fy_event_get_token(&event));
            if (!anchors_.contains(name)) {
                return fail_at(text_, at,
                               fmt::format("alias '*{}' has no anchor '&{}' before it", printable(name),
                                           printable(name)));
            }
            return {};
        }
        if (fy_token* anchor = fy_event_get_anchor_token(&event)) anchors_.insert(text_of_token(anchor));
        fy_token* tag_token = fy_event_get_tag_token(&event);
        if (!tag_token) return {};
        const std::string tag = text_of_token(tag_token);
        if (!tag.starts_with(core_tags) && tag != "!") {
            return fail_at(text_, at,
                           fmt::format("tag '{}': cloud-init takes none but YAML's own", printable(tag)));
        }
        return {};
    }

    Result<void> take_key(fy_event& event, YamlKind kind, YamlPosition at) {
        Open& mapping = open_.back();
        mapping.key_next = false;
        mapping.key_at = at;
        mapping.key.clear();
        if (kind == YamlKind::alias) return {};
        if (kind != YamlKind::scalar) {
            return fail_at(text_, at,
                           "a mapping or sequence cannot be a key (braces or brackets may lack quotes)");
        }
        mapping.key = text_of_token(fy_event_get_token(&event));
        if (mapping.key != merge_key && !mapping.keys.insert(mapping.key).second) {
            return fail_at(
                text_, at,
                fmt::format("key '{}' occurs twice in the same mapping: cloud-init would drop the first",
                            printable(mapping.key)));
        }
        return {};
    }

    void take_value(fy_event& event, YamlKind kind, YamlPosition at) {
        if (open_.empty()) {
            outline_.top = kind;
            outline_.at = at;
            outline_.flow = kind == YamlKind::mapping && fy_event_get_node_style(&event) == FYNS_FLOW;
            return;
        }
        Open& mapping = open_.back();
        mapping.key_next = true;
        const bool nested = open_.size() == 2 && open_.front().mapping && open_.front().key == nested_key;
        if (!mapping.mapping || (open_.size() != 1 && !nested)) return;
        YamlEntry entry;
        if (nested) entry.parent = nested_key;
        entry.key = mapping.key;
        entry.at = mapping.key_at;
        entry.kind = kind;
        entry.value_begin = entry.value_end = at.offset;
        if (kind == YamlKind::scalar) {
            fy_token* token = fy_event_get_token(&event);
            const fy_scalar_style style = fy_token_scalar_style(token);
            entry.text = text_of_token(token);
            entry.plain = style == FYSS_PLAIN;
            entry.block = style == FYSS_LITERAL || style == FYSS_FOLDED;
            entry.value_end = position_of(fy_event_end_mark(&event)).offset + (is_quoted(event) ? 1 : 0);
        }
        outline_.entries.push_back(std::move(entry));
    }

    const SeedText& text_;
    YamlOutline outline_;
    std::vector<Open> open_;
    std::unordered_set<std::string> anchors_;
    std::size_t nodes_ = 0;
    std::size_t documents_ = 0;
};

std::unexpected<Error> fail_parse(const SeedText& text, fy_diag* diag) {
    void* iterator = nullptr;
    const fy_diag_error* error = fy_diag_errors_iterate(diag, &iterator);
    if (!error) return failf(ErrorKind::corrupt, "{}: not YAML", printable(text.name));
    YamlPosition at;
    at.line = static_cast<std::size_t>(std::max(error->line, 1));
    at.column = static_cast<std::size_t>(std::max(error->column, 1));
    return fail_at(text, at, fmt::format("not YAML: {}", printable(error->msg)));
}

}  // namespace

bool YamlEntry::is_null() const {
    return kind == YamlKind::scalar && plain && (text.empty() || text == "~" || text == "null");
}

const YamlEntry* YamlOutline::find(std::string_view key, std::string_view parent) const {
    const auto found = std::ranges::find_if(
        entries, [&](const YamlEntry& entry) { return entry.key == key && entry.parent == parent; });
    return found == entries.end() ? nullptr : &*found;
}

Result<YamlOutline> outline_yaml(const SeedText& text) {
    TRY(check_characters(text));
    fy_diag_cfg diag_config;
    fy_diag_cfg_default(&diag_config);
    diag_config.level = FYET_ERROR;
    const Diag diag(fy_diag_create(&diag_config));
    fy_diag_set_collect_errors(diag.get(), true);
    fy_parse_cfg config = {};
    config.flags = static_cast<fy_parse_cfg_flags>(FYPCF_QUIET | FYPCF_DEFAULT_VERSION_1_1);
    config.diag = diag.get();
    const Parser parser(fy_parser_create(&config));
    if (!parser || fy_parser_set_string(parser.get(), text.text.data(), text.text.size()) != 0) {
        return failf(ErrorKind::io, "{}: the YAML parser cannot start", printable(text.name));
    }
    Walk walk(text);
    for (;;) {
        const auto release = [&](fy_event* event) { fy_parser_event_free(parser.get(), event); };
        const std::unique_ptr<fy_event, decltype(release)> event(fy_parser_parse(parser.get()), release);
        if (!event) break;
        TRY(walk.take(*event));
    }
    if (fy_parser_get_stream_error(parser.get())) return fail_parse(text, diag.get());
    return walk.finish();
}

std::unexpected<Error> fail_at(const SeedText& text, YamlPosition at, std::string_view what) {
    return failf(ErrorKind::corrupt, "{}:{}:{}: {}", printable(text.name), at.line, at.column, what);
}

std::string yaml_quoted(std::string_view content) {
    std::string out = "\"";
    for (char c : content) {
        const auto code = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') out += '\\';
        if (c == '\n') {
            out += "\\n";
        } else if (code < 0x20 || code == 0x7f) {
            out += fmt::format("\\u{:04x}", code);
        } else {
            out += c;
        }
    }
    return out += '"';
}

}  // namespace qimg::seed
