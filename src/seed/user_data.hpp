// User-data and vendor-data: what a text is, told by its first line as cloud-init does it, and whether
// cloud-init will take it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/seed.hpp"
#include "seed/yaml.hpp"

namespace qimg::seed {

enum class PartKind {
    empty,  // nothing but white space, which cloud-init takes for no user-data
    cloud_config,
    shell_script,
    boothook,
    include_url,
    include_once_url,
    config_archive,
    config_jsonp,
    part_handler,
    jinja,
    mime,  // a MIME document, whose parts are not looked into
    gzip,  // compressed, and not looked into
};

// What one text turned out to be.
struct Part {
    PartKind kind = PartKind::empty;
    YamlOutline outline;                // of a cloud-config
    std::vector<std::string> warnings;  // each with its place
};

// The type that cloud-init has for the kind in a MIME archive; empty for `empty` and `mime`.
std::string_view mime_type(PartKind kind);

// Tells the kind and checks what can be checked without running it. Errors: corrupt, with line and column,
// for what cloud-init would ignore or fail on: a first line that it does not know, a byte-order mark, a
// carriage return where a kernel reads the line, cloud-config that is no YAML mapping.
Result<Part> check_user_data(const SeedText& text);

}  // namespace qimg::seed
