// What the YAML outline accepts, refuses and reports.
// SPDX-License-Identifier: Apache-2.0
#include "seed/yaml.hpp"

#include <doctest/doctest.h>
#include <fmt/core.h>

using namespace qimg;
using namespace qimg::seed;

namespace {

std::string error_of(const std::string& text) {
    const auto outline = outline_yaml({"f", text});
    return outline ? "" : outline.error().message;
}

}  // namespace

TEST_CASE("top-level keys and those below network are reported with their places") {
    const auto outline =
        outline_yaml({"f", "a: 1\n\"b\": 'x y'\nnetwork:\n  version: 2\n  c: {d: e}\nf:\n"}).value();
    CHECK(outline.top == YamlKind::mapping);
    CHECK_FALSE(outline.flow);
    REQUIRE(outline.find("b") != nullptr);
    CHECK(outline.find("b")->text == "x y");
    CHECK(outline.find("b")->at.column == 1);
    CHECK(outline.find("b")->value_begin == 10);
    CHECK(outline.find("b")->value_end == 15);
    CHECK(outline.find("version", "network")->plain);
    CHECK(outline.find("version", "network")->at.line == 4);
    CHECK(outline.find("d") == nullptr);
    CHECK(outline.find("f")->is_null());
    CHECK_FALSE(outline.find("a")->is_null());
}

TEST_CASE("a text of comments is nothing, JSON is a flow mapping") {
    CHECK(outline_yaml({"f", "# only\n"}).value().top == YamlKind::nothing);
    CHECK(outline_yaml({"f", "{\"a\": [1, 2]}"}).value().flow);
}

TEST_CASE("what is no YAML is refused with line and column") {
    CHECK(error_of("a: 1\nb: [\n").starts_with("f:3:1: not YAML"));
    CHECK(error_of("a: \"x\n").starts_with("f:1:"));
    CHECK(error_of("a: @x\n").starts_with("f:1:4: not YAML"));
}

TEST_CASE("what cloud-init would half ignore is refused") {
    CHECK(error_of("a: 1\nb: 2\na: 3\n").starts_with("f:3:1: key 'a' occurs twice"));
    CHECK(error_of("x:\n  a: 1\n  a: 2\n").starts_with("f:3:3: key 'a' occurs twice"));
    CHECK(error_of("---\na: 1\n---\nb: 2\n").starts_with("f:3:1: a second YAML document"));
    CHECK(error_of("a: *b\n").starts_with("f:1:5: alias '*b'"));
    CHECK(error_of("a: {{ b }}\n").starts_with("f:1:5: a mapping or sequence cannot be a key"));
    CHECK(error_of("a: !x b\n").find("tag '!x'") != std::string::npos);
    CHECK(error_of("a: !!str 1\nb: ! x\n").empty());
    CHECK(error_of("<<: {a: 1}\n<<: {b: 1}\n").empty());
}

TEST_CASE("bytes that PyYAML's reader refuses are refused") {
    CHECK(error_of("a: \xff\n").starts_with("f:1:4: byte \\xff is not UTF-8"));
    CHECK(error_of("a: \x1b[31m\n").starts_with("f:1:4: control character \\x1b"));
    CHECK(error_of(std::string("a: \0b\n", 6)).starts_with("f:1:4: control character"));
    CHECK(error_of("a: \xc3\xa9\tb\r\nc: d\n").empty());
}

TEST_CASE("aliases are not expanded") {
    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 40; ++i) {
        bomb +=
            fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i, i - 1);
    }
    CHECK(error_of(bomb).empty());
}

TEST_CASE("size and depth are bounded") {
    std::string many;
    for (int i = 0; i < 500'001; ++i)
        many += "- a\n- b\n";
    CHECK(error_of(many).find("more than 1000000 YAML nodes") != std::string::npos);
    CHECK_FALSE(error_of("a: " + std::string(300, '[') + std::string(300, ']')).empty());
    CHECK_FALSE(error_of(std::string(100'000, '[')).empty());
    CHECK(error_of("a: " + std::string(30, '[') + std::string(30, ']')).empty());
}

TEST_CASE("a quoted text reads back as it was") {
    const std::string text = "quote \" backslash \\ newline\n tab\t bell\a caf\xc3\xa9";
    const auto outline = outline_yaml({"f", "k: " + yaml_quoted(text)}).value();
    CHECK(outline.find("k")->text == text);
}
