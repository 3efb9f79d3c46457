// The directory of persistent bitmaps, read and written. What is in the bitmaps is elsewhere.
// qcow2 "Bitmaps extension", "Bitmap directory".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "format/qcow2/header.hpp"
#include "qimg/error.hpp"
#include "qimg/image_info.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

inline constexpr std::uint64_t bitmap_name_bytes_max = 1023;
inline constexpr unsigned granularity_bits_min = 9;
inline constexpr unsigned granularity_bits_max = 31;

struct Bitmap {
    BitmapInfo info;             // its flags are also in `flags`; set_flag() changes both
    HostOffset directory_entry;  // where its entry lies in the file
    std::uint32_t flags = 0;
    HostOffset table;
    std::uint32_t table_entries = 0;

    unsigned granularity_bits() const;
    bool records_changes() const { return info.automatic && !info.in_use; }
    void set_flag(std::uint32_t flag, bool on);
};

struct BitmapDirectory {
    HostOffset at;
    std::uint64_t bytes = 0;
    std::vector<Bitmap> bitmaps;
};

// Reads and checks the directory; empty when the image has none or its autoclear bit says that it is stale.
// What is in the tables is not looked at. Errors: corrupt in QEMU's words. Bounded by
// bitmap_directory_bytes_max.
Result<BitmapDirectory> read_bitmaps(const Storage& storage, const Header& header);

// The bytes of an entry, and of a whole directory.
std::uint64_t directory_entry_bytes(std::uint64_t name_bytes);
Bytes serialize_bitmaps(const std::vector<Bitmap>& bitmaps);

// Whole bytes that the bits of a disk take, without the rest of the last cluster.
std::uint64_t bitmap_bytes(std::uint64_t disk_bytes, unsigned granularity_bits);

}  // namespace qimg::qcow2
