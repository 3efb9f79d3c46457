// The files of a folder by what their headers say: which are images, and which files those name.
//
// The one place that goes through folders. Only headers are read, without regard to locks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/qcow2/header.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg {

struct FolderImage {
    std::string path;
    FileIdentity identity;
    std::string format;  // by its first bytes; empty when it cannot be read
    std::uint64_t file_bytes = 0;
    std::uint64_t allocated_bytes = 0;
    std::optional<qcow2::Header>
        header;  // of a qcow2 image that is not broken; of its extensions the pin only
    std::optional<std::string> problem;    // why it cannot be read, or is broken
    std::optional<std::string> backing;    // the path that the header names, or the name of another kind
    std::optional<std::string> data_file;  // likewise
};

// What one file says of itself.
FolderImage look_at(const std::string& path, const FileIdentity& identity, const Storage& file);

// The regular files of the folder ("" is the working one), by name. Errors: not_found and io of reading the
// folder.
Result<std::vector<FolderImage>> images_in(const std::string& folder);

}  // namespace qimg
