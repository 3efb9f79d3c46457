// QEMU's blkdebug: an image read through a layer that fails on purpose. Knows its options and its
// configuration file; acting the failures out is the library's business.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/qimg/image_name.hpp"
#include "qimg/assembly.hpp"

namespace qimg::cli {

enum class BlkdebugPlace {
    under_format,  // offsets are those of the file
    over_format,   // offsets are those of the disk
};

// Takes blkdebug's own options out of `members` and adds their faults to `assembly`. True when there were any
// besides the configuration file's name. Errors: invalid_argument, and unsupported for events inside QEMU's
// own driver.
Result<bool> take_blkdebug_options(NodeMembers& members, BlkdebugPlace place, Assembly& assembly);

// Adds the faults of the sections [inject-error] of a configuration file. Errors: of reading it, and as above.
Result<void> read_blkdebug_config(const std::string& path, BlkdebugPlace place, Assembly& assembly);

}  // namespace qimg::cli
