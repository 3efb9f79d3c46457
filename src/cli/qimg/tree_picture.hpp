// A tree of images as a picture: SVG 1.1.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "qimg/operations/tree.hpp"

namespace qimg::cli {

// Bases at the left, what stands on them to their right, a box for each with its name and sizes, an arrow from
// each overlay to what it stands on. Needs nothing but the font of whoever looks at it.
std::string tree_picture(const std::vector<TreeNode>& nodes, const std::string& folder);

}  // namespace qimg::cli
