// amend: change what an existing image is: its version, refcount width, flags, size, data file name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "qimg/image.hpp"
#include "qimg/layout.hpp"
#include "qimg/progress.hpp"

namespace qimg {

struct AmendOptions {
    std::string path;
    OpenOptions open;
    Qcow2Amendment qcow2;
    std::optional<std::uint64_t> size;  // of the disk, in bytes; shorter ones lose what lies behind
};

// What cannot be is refused before anything is changed; only snapshots of another size prevent going to version
// 2 after the disk has got its new size. Crash-safe: the size and all the rest change in one step each, and
// guests see the same at every moment but for the size. Errors: unsupported for formats other
// than qcow2; invalid_argument in QEMU's words; those of resize and Image::open.
Result<void> amend(const AmendOptions& options, Opener& opener = file_opener(),
                   Progress& progress = no_progress());

}  // namespace qimg
