// New vmdk images: which kinds there are, and what an empty one holds. Knows no file by its name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "qimg/error.hpp"
#include "qimg/layout.hpp"
#include "qimg/storage.hpp"

namespace qimg::vmdk {

// Errors: invalid_argument for an adapter, a kind or a version that there is not; unsupported for a disk of
// several files; no_space for a disk that is too large.
Result<void> check_layout(const VmdkLayout& layout, std::uint64_t size);

// Writes an empty image of `size` bytes, a multiple of 512, to an empty storage; the layout was checked. `name` is
// the file's, for the descriptor.
Result<void> create_empty(Storage& storage, const VmdkLayout& layout, std::uint64_t size,
                          std::string_view name);

}  // namespace qimg::vmdk
