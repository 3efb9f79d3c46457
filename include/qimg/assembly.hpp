// Assembly: how an image is put together where that differs from "this file, and what its header names".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace qimg {

struct ImageLocation;

// A failure to be acted out, so that one can see what becomes of it.
struct Fault {
    enum class Operation { read, write, flush, block_status };
    Operation operation = Operation::read;
    std::optional<std::uint64_t> offset;  // only where this byte is touched; absent: everywhere
    int error_number = EIO;
    bool once = false;
};

struct Assembly {
    // The name for people: in messages and as info's file name. Empty: the path.
    std::string name;
    // What info calls the format, when that is not a format but what a file is read through.
    std::string driver;
    std::optional<std::uint64_t> null_bytes;  // there is no file, only so many zeroes
    // The part of the file that is a raw image, in bytes.
    std::uint64_t raw_start = 0;
    std::optional<std::uint64_t> raw_bytes;
    bool whole_sectors = false;       // a raw image's data ends with a sector
    std::vector<Fault> file_faults;   // at offsets of the file
    std::vector<Fault> guest_faults;  // at offsets of the disk
    // Instead of what the header names.
    std::optional<std::string> data_file;
    std::shared_ptr<const ImageLocation> backing;
    bool has_folder = true;       // false: relative names in the header lead nowhere
    bool tells_disk_size = true;  // false: space in use is unknown
};

}  // namespace qimg
