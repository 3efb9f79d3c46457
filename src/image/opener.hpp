// Which format a file has, and how its format is opened.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "format/format.hpp"
#include "qimg/image.hpp"

namespace qimg {

// "qcow2" or "raw", by the first bytes.
Result<std::string> probe_format(const Storage& storage);

// The format of one file, without its backing image. `format` absent: probed.
Result<std::unique_ptr<Format>> open_format(std::unique_ptr<Storage> storage, const std::string& path,
                                            const OpenOptions& options, Opener& opener);

}  // namespace qimg
