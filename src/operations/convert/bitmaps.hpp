// Taking the source's bitmaps along.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "operations/convert/source.hpp"
#include "qimg/error.hpp"
#include "qimg/image.hpp"
#include "qimg/operations/convert.hpp"

namespace qimg {

// Before anything is written. The names of those that are marked as in use and therefore left behind. Errors:
// invalid_argument for several sources, unsupported for one without bitmaps, corrupt for a bitmap that is in
// use when none may be left behind.
Result<std::vector<std::string>> check_bitmaps(const Source& source, const ConvertOptions& options);
// Errors: unsupported when the target cannot hold bitmaps.
Result<void> check_takes_bitmaps(Image& target);
// Copies those that are not in use, once the target's data is complete. On an error, the ones before it are
// there.
Result<void> copy_bitmaps(const Source& source, Image& target);

}  // namespace qimg
