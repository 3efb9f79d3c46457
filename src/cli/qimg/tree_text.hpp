// A tree of images for people and as JSON, and the words that every drawing of one uses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/qimg/json_text.hpp"
#include "qimg/operations/tree.hpp"

namespace qimg::cli {

// Prints a line for each image, drawn with ASCII where the locale does not say UTF-8.
void print_tree(const std::vector<TreeNode>& nodes, const std::string& folder);

// Each image with those that stand on it in "overlays".
Json tree_json(const std::vector<TreeNode>& nodes);

// The name without the folder that was asked for, safe to print.
std::string short_name(const TreeNode& node, const std::string& folder);
// "in use: …"; empty when it is not.
std::string use_of(const TreeNode& node);
// Everything about the image that is not as it should be; empty when nothing is.
std::string trouble_of(const TreeNode& node);
// The number of characters of UTF-8 text.
std::size_t width_of(std::string_view text);

}  // namespace qimg::cli
