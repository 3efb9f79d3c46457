// info: what an image is, from its header and snapshot table alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "qimg/image_info.hpp"

namespace qimg {

struct InfoOptions {
    std::string path;
    OpenOptions open;
    bool backing_chain = false;  // also every image below; only then is another file opened
    bool limits = false;         // also ImageInfo::limits
    bool users = false;          // also ImageInfo::users
};

// One entry, or with backing_chain one for each image, top first. Errors: of Image::open.
Result<std::vector<ImageInfo>> info(const InfoOptions& options, Opener& opener = file_opener());

}  // namespace qimg
