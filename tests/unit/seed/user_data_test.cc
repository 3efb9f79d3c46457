// First lines and bodies of user-data, vendor-data and network-config.
// SPDX-License-Identifier: Apache-2.0
#include "seed/user_data.hpp"

#include <doctest/doctest.h>

#include "seed/cloud_config.hpp"
#include "seed/network_config.hpp"

using namespace qimg;
using namespace qimg::seed;

namespace {

std::string error_of(const std::string& text) {
    const auto part = check_user_data({"f", text});
    return part ? "" : part.error().message;
}

PartKind kind_of(const std::string& text) {
    return check_user_data({"f", text}).value().kind;
}

std::string network_error(const std::string& text) {
    const auto done = check_network_config({"n", text});
    return done ? "" : done.error().message;
}

}  // namespace

TEST_CASE("kinds are told by the first line") {
    CHECK(kind_of("#cloud-config\na: b\n") == PartKind::cloud_config);
    CHECK(kind_of("#cloud-config # mine\n") == PartKind::cloud_config);
    CHECK(kind_of("\n#cloud-config\r\nruncmd: []\r\n") == PartKind::cloud_config);
    CHECK(kind_of("#!/bin/sh\n") == PartKind::shell_script);
    CHECK(kind_of("#cloud-boothook\n#!/bin/sh\n") == PartKind::boothook);
    CHECK(kind_of("#include\nhttp://x/\n") == PartKind::include_url);
    CHECK(kind_of("#include-once\nhttp://x/\n") == PartKind::include_once_url);
    CHECK(kind_of("#cloud-config-archive\n- a\n") == PartKind::config_archive);
    CHECK(kind_of("#cloud-config-jsonp\n[]\n") == PartKind::config_jsonp);
    CHECK(kind_of("#part-handler\n") == PartKind::part_handler);
    CHECK(kind_of("## template: jinja\n#cloud-config\na: {{ b }}\n") == PartKind::jinja);
    CHECK(kind_of("Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n") == PartKind::mime);
    CHECK(kind_of("\x1f\x8b\x08") == PartKind::gzip);
    CHECK(kind_of("") == PartKind::empty);
    CHECK(kind_of(" \n\n") == PartKind::empty);
}

TEST_CASE("a misspelled first line is refused with the one that was meant") {
    for (const char* line : {"# cloud-config", "#cloud_config", "#Cloud-Config", "##cloud-config",
                             "#cloudconfig", "cloud-config", "#cloud-confg", "#cloud-config:"}) {
        CHECK(error_of(std::string(line) + "\na: b\n").ends_with("write '#cloud-config'"));
    }
    CHECK(error_of("#!cloud-boothook\n").empty());
    CHECK(error_of("#cloud-bothook\n").ends_with("write '#cloud-boothook'"));
    CHECK(error_of("#/bin/sh\n").ends_with("write '#!'"));
    CHECK(error_of("##template: jinja\n").ends_with("write '## template: jinja'"));
}

TEST_CASE("a missing or misplaced first line is refused") {
    CHECK(error_of("packages: [vim]\n").find("'#cloud-config' is missing") != std::string::npos);
    CHECK(error_of("# mine\n#cloud-config\n").find("is in line 2") != std::string::npos);
    CHECK(error_of("hello\n").find("which cloud-init ignores") != std::string::npos);
    CHECK(error_of("\n#!/bin/sh\n").find("very first line") != std::string::npos);
    CHECK(error_of("Content-Type: text/cloud-config\n\na: b\n").find("ignores") != std::string::npos);
}

TEST_CASE("byte-order marks are refused") {
    CHECK(error_of("\xef\xbb\xbf#cloud-config\n").find("byte-order mark") != std::string::npos);
    CHECK(error_of(std::string("\xff\xfe#\0", 4)).find("byte-order mark") != std::string::npos);
}

TEST_CASE("carriage returns are refused where a kernel reads the line") {
    CHECK(error_of("#!/bin/sh\r\n").find("CR LF") != std::string::npos);
    CHECK(error_of("#cloud-boothook\r\n#!/bin/sh\r\n").starts_with("f:2:"));
    CHECK(error_of("#cloud-boothook\n#!/bin/sh\n").empty());
}

TEST_CASE("the top of a cloud-config is a mapping, of an archive a list") {
    CHECK(error_of("#cloud-config\n- a\n").starts_with("f:2:1: cloud-config must be a mapping"));
    CHECK(error_of("#cloud-config\nhello\n").starts_with("f:2:1:"));
    CHECK(error_of("#cloud-config\n").empty());
    CHECK(error_of("#cloud-config-archive\na: b\n").starts_with("f:2:1:"));
    CHECK(error_of("#cloud-config\na: [\n").find("not YAML") != std::string::npos);
}

TEST_CASE("unknown keys are warnings that name the nearest known one") {
    const auto part =
        check_user_data(
            {"f", "#cloud-config\nruncmd: []\npackges: []\nfrobnicate: 1\nssh-authorized-keys: []\n"})
            .value();
    REQUIRE(part.warnings.size() == 3);
    CHECK(part.warnings[0] ==
          "f:3:1: unknown key 'packges': cloud-init will ignore it; did you mean 'packages'?");
    CHECK(part.warnings[1] == "f:4:1: unknown key 'frobnicate': cloud-init will ignore it");
    CHECK(part.warnings[2].ends_with("did you mean 'ssh_authorized_keys'?"));
}

TEST_CASE("edit distance counts insertions, deletions, replacements and swaps") {
    CHECK(edit_distance("", "abc") == 3);
    CHECK(edit_distance("abc", "abc") == 0);
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance("uesrs", "users") == 1);
}

TEST_CASE("network-config must have a version that cloud-init knows") {
    CHECK(network_error("version: 2\nethernets: {}\n").empty());
    CHECK(network_error("network:\n  version: 2\n").empty());
    CHECK(network_error("version: 1\nconfig: []\n").empty());
    CHECK(network_error("network: {config: disabled}\n").empty());
    CHECK(network_error("version: 3\n").starts_with("n:1:1: version '3'"));
    CHECK(network_error("network:\n  version: \"2\"\n").starts_with("n:2:3: version '2' in quotes"));
    CHECK(network_error("ethernets: {}\n").find("no 'version'") != std::string::npos);
    CHECK(network_error("version: 1\n").find("needs a list") != std::string::npos);
    CHECK(network_error("- a\n").starts_with("n:1:1:"));
    CHECK(network_error("").starts_with("n:1:1:"));
    CHECK(network_error("network: x\n").find("must be a mapping") != std::string::npos);
}
