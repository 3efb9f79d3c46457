// Image names in QEMU's forms, made plain: "disk.img", "file:disk.img", "json:{…}", "driver=…,file.filename=…",
// "null-co://", "blkdebug:CONFIG:disk.img".
//
// Only names on a command line go through here; what a header says is a file's name and nothing else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>

#include "qimg/error.hpp"
#include "qimg/image.hpp"

namespace qimg::cli {

// A description of an image with nested members as "file.filename"; a member that is null has no value.
using NodeMembers = std::map<std::string, std::optional<std::string>>;

// Errors of both: invalid_argument for text that is no list or no JSON.
Result<NodeMembers> members_of_json(std::string_view text);
Result<NodeMembers> members_of_options(const std::string& text);

// The image that the members describe; `name` is for people. Errors: invalid_argument in QEMU's words,
// unsupported for drivers and options that are known but not here.
Result<ImageLocation> location_of_members(NodeMembers members, const std::string& name);
// The image of a name that is neither JSON nor an option list. Errors: as above.
Result<ImageLocation> location_of_name(const std::string& name);

}  // namespace qimg::cli
