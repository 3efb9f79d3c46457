// What is refused because it would destroy or give away somebody's data, though qemu-img does it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "qimg/error.hpp"

namespace qimg::cli {

// ErrorKind::unsafe with what is risky and how to do it all the same. Where qemu-img's behaviour is asked for
// (QIMG_COMPAT=1, or called by its name) only a warning: by that name only on a terminal, since scripts compare
// what comes on stderr.
Result<void> refuse_unless_compatible(const std::string& risk, const std::string& advice);

// Refuses as above to do `doing` ("creating over it") to a file that other images in its folder stand on; `above`
// is one of them that does not count. Nothing is refused when `forced`.
Result<void> protect_dependants(const std::string& path, const std::string& doing, bool forced,
                                const std::string& above = {});

// The same; false with the error printed.
bool spares_dependants(const std::string& path, const std::string& doing, bool forced);

// Refuses as above to do what leaves the disk of `path` as it is, but not its tables, when images in its folder
// stand on it and remember those: they would tell of a change.
Result<void> protect_pins(const std::string& path, const std::string& doing, bool forced);

// Refuses as above a new image whose external data file exists and is not empty.
Result<void> protect_data_file(const std::string& path, bool forced);

// Refuses as above an overlay whose backing format is said to be raw although the file is a qcow2 image.
Result<void> protect_from_wrong_format(const std::string& path, const std::string& format, bool forced);

}  // namespace qimg::cli
