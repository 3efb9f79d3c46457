// Top-level keys of cloud-config: which ones there are, and which one a misspelled key was meant to be.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qimg/seed.hpp"
#include "seed/yaml.hpp"

namespace qimg::seed {

// Operations (insert, delete, replace, swap of neighbours) that turn `a` into `b`; texts of a few dozen
// characters.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The known top-level key nearest to `key`, when it is near enough to have been meant.
std::optional<std::string_view> nearest_cloud_config_key(std::string_view key);
bool is_cloud_config_key(std::string_view key);

// One warning, with place, per top-level key that no cloud-init module reads.
std::vector<std::string> unknown_key_warnings(const SeedText& text, const YamlOutline& outline);

}  // namespace qimg::seed
