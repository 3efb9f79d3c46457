// YAML as cloud-init's loader takes it: is it well-formed, and what does its top level hold. The only
// place that knows libfyaml.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/seed.hpp"

namespace qimg::seed {

// The most scalars, sequences and mappings a text may have; more would keep cloud-init's loader busy for
// minutes.
inline constexpr std::size_t yaml_nodes_max = 1'000'000;
// Python's recursion limit ends that loader's patience at some 300 levels.
inline constexpr std::size_t yaml_depth_max = 200;

struct YamlPosition {
    std::size_t line = 1;    // from 1
    std::size_t column = 1;  // from 1
    std::size_t offset = 0;  // in bytes from the start of the text
};

enum class YamlKind { nothing, scalar, sequence, mapping, alias };

// A key of the top-level mapping, or of the mapping under its key `network`.
struct YamlEntry {
    std::string parent;  // empty at the top
    std::string key;
    YamlPosition at;
    YamlKind kind = YamlKind::nothing;
    std::string text;             // of a scalar
    bool plain = false;           // a scalar without quotes that begins and ends in one line
    bool block = false;           // a scalar written with | or >
    std::size_t value_begin = 0;  // both in bytes, for a scalar that is written, quotes included
    std::size_t value_end = 0;

    // What a loader takes for null: `~`, `null` or nothing, without quotes.
    bool is_null() const;
};

struct YamlOutline {
    YamlKind top = YamlKind::nothing;  // nothing: no content but comments
    YamlPosition at;                   // of the top-level node
    bool flow = false;                 // the top-level mapping is written with braces
    std::vector<YamlEntry> entries;

    // Null when there is none.
    const YamlEntry* find(std::string_view key, std::string_view parent = {}) const;
};

// Parses the text, expanding no alias. Errors: corrupt, as "NAME:LINE:COLUMN: …", for what is no YAML and for
// what cloud-init's loader refuses or half ignores: more than one document, a key that occurs twice or is no
// scalar, an alias without its anchor, a tag other than YAML's own, control characters, too many nodes.
Result<YamlOutline> outline_yaml(const SeedText& text);

// The Error for a place in a text: "NAME:LINE:COLUMN: WHAT".
std::unexpected<Error> fail_at(const SeedText& text, YamlPosition at, std::string_view what);

// A double-quoted YAML scalar (and JSON string) with this content, which must be UTF-8.
std::string yaml_quoted(std::string_view content);

}  // namespace qimg::seed
