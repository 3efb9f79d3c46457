// Raw: guest bytes are host bytes, of a file or of a part of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "format/format.hpp"

namespace qimg::raw {

struct RawOptions {
    std::uint64_t start = 0;             // where in the file the disk begins, bytes
    std::optional<std::uint64_t> bytes;  // how long it is; absent: to the end of the file
    bool whole_sectors = false;          // data ends with a sector, though the file may end within one
};

// A disk of as many bytes as the file has, rounded up to whole sectors as QEMU does. Errors: invalid_argument
// for a part that does not lie inside the file.
Result<std::unique_ptr<Format>> open(std::unique_ptr<Storage> storage, const RawOptions& options = {});

}  // namespace qimg::raw
