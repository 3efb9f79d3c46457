// tree: which overlays stand on which base.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/file_use.hpp"
#include "qimg/image.hpp"
#include "qimg/operations/pins.hpp"

namespace qimg {

struct TreeOptions {
    std::string path = ".";  // a folder, or an image
};

struct TreeNode {
    std::string path;                      // or the name of something that is no file
    std::optional<std::size_t> base;       // the node that it stands on: always an earlier one
    std::size_t depth = 0;                 // 0: stands on nothing that is known
    std::string format;                    // empty when it cannot be told
    bool missing = false;                  // somebody names it, and it is not there
    std::optional<std::string> problem;    // why it cannot be read or followed
    std::uint64_t virtual_bytes = 0;       // of the disk
    std::uint64_t allocated_bytes = 0;     // disk space of the image file
    std::uint64_t freed_bytes = 0;         // what removing it frees, with all that stands on it
    std::uint32_t snapshots = 0;           // inside it
    std::optional<std::string> data_file;  // an external one, by its path; not counted
    PinReport pin;                         // of its base
    FileUse use = FileUse::none;           // of the image file
};

// Of a folder: all qcow2 images in it, and the images that these stand on, wherever they are. Of an image: itself,
// what it stands on, and what stands on it in its folder. In the order of a tree drawn from top to bottom:
// an image is followed by what stands on it, by name. Loops and chains of more than 200 images are cut and
// told as a problem. Names that the opener refuses to follow are told as one, too. Each file is looked at
// once; of bases that are pinned, the tables are read. Errors: not_found and io of the path itself.
Result<std::vector<TreeNode>> tree(const TreeOptions& options, Opener& opener = file_opener());

}  // namespace qimg
