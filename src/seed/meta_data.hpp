// meta-data: the instance's id, host name and the like, taken from a file, from options, or from both.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/seed.hpp"

namespace qimg::seed {

// A host name (RFC 1123 2.1): labels of letters, digits and hyphens, up to 63 characters each and 253 in all.
bool is_hostname(std::string_view name);

struct Setting {
    std::string key;
    std::string value;
};

struct MetaData {
    std::string text;
    std::string instance_id;  // empty when the text has none
};

// Checks meta-data: a YAML or JSON mapping (or nothing) whose instance-id, local-hostname and dsmode are what
// cloud-init takes them to be. Errors: corrupt, with line and column.
Result<MetaData> check_meta_data(const SeedText& text);

// The text with the settings in it: added where it has no such key, otherwise in place of the key's value;
// every other byte stays. Errors: those of check_meta_data, also for the result; invalid_argument when a
// value to replace is more than a scalar in one piece.
Result<MetaData> apply_settings(const SeedText& text, const std::vector<Setting>& settings);

}  // namespace qimg::seed
