// remove: an image that nobody uses any more.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "qimg/image.hpp"

namespace qimg {

struct RemoveOptions {
    std::string path;
    bool data_file = false;        // also the external data file that a qcow2 image names
    bool write_protected = false;  // also a file that may not be written to
};

struct RemoveReport {
    std::optional<std::string> data_file;  // that was removed, too
};

// Whether other images stand on it is the caller's business: find_dependants(). What the file holds does not
// matter, so a broken image can be removed. Nothing is removed when one of the files cannot be. A symbolic link
// goes, what it leads to stays. Errors: not_found; in_use while another process reads or writes the
// image or its data file; read_only; invalid_argument for what is no file; those of the opener for the data file.
Result<RemoveReport> remove_image(const RemoveOptions& options, Opener& opener = file_opener());

}  // namespace qimg
