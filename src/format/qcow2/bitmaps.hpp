// The directory of persistent bitmaps. qcow2 "Bitmaps extension", "Bitmap directory".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/qcow2/header.hpp"
#include "qimg/error.hpp"
#include "qimg/image_info.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

struct Bitmap {
    BitmapInfo info;
    HostOffset directory_entry;  // where its entry lies in the file
    std::uint32_t flags = 0;
    HostOffset table;
    std::uint32_t table_entries = 0;
};

struct BitmapDirectory {
    HostOffset at;
    std::uint64_t bytes = 0;
    std::vector<Bitmap> bitmaps;
};

// Reads and checks the directory; empty when the image has none or its autoclear bit says that it is stale.
// Errors: corrupt in QEMU's words. Bounded by bitmaps_max entries of at most 2 KiB.
Result<BitmapDirectory> read_bitmaps(const Storage& storage, const Header& header);

}  // namespace qimg::qcow2
