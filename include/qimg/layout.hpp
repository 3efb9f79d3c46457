// What a new image file looks like, and what can be changed about an old one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qimg/units.hpp"

namespace qimg {

enum class Preallocation { off, metadata, falloc, full };

// What an overlay records of its base, so that a change there can be noticed: nothing; its size and a digest of
// its tables; or also a digest of all that guests see, for which all of it is read.
enum class PinMode { none, tables, full };

// What a new qcow2 file looks like; the defaults are qemu-img's.
struct Qcow2Layout {
    unsigned version = 3;
    std::uint64_t cluster_bytes = 64 * KiB;  // a power of two, 512 to 2 MiB
    unsigned refcount_bits = 16;             // a power of two, 1 to 64; version 2 has 16
    bool lazy_refcounts = false;
    bool extended_l2 = false;
    std::string compression_type = "zlib";  // or "zstd"
    bool is_encrypted = false;  // with AES: only the empty image, whose content is for others to write
    std::optional<std::string> data_file;
    bool data_file_raw = false;
    std::optional<std::string> backing_file;  // written as it is
    std::optional<std::string> backing_format;
};

// What a new vmdk file looks like; the defaults are qemu-img's.
struct VmdkLayout {
    std::string subformat = "monolithicSparse";  // or "streamOptimized"
    std::string adapter_type = "ide";            // or "buslogic", "lsilogic", "legacyESX"
    // What the descriptor says, at most 64 printable characters each.
    std::string hardware_version = "4";
    std::string tools_version = "2147483647";
    bool zeroed_grains = false;
};

// What shall be different about a qcow2 file; what is absent stays as it is.
struct Qcow2Amendment {
    std::optional<unsigned> version;  // 2 or 3
    std::optional<unsigned> refcount_bits;
    std::optional<bool> lazy_refcounts;
    std::optional<std::string> data_file;  // the name alone; empty: none is recorded
    std::optional<bool> data_file_raw;     // can only be given up
    // Only both as the header says them already: rebase is what changes these.
    std::optional<std::string> backing_file;
    std::optional<std::string> backing_format;
};

}  // namespace qimg
