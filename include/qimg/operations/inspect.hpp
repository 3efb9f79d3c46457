// inspect: whether an image from a stranger may be used, told from its own file alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/image.hpp"

namespace qimg {

struct InspectOptions {
    std::string path;
    std::optional<std::string> format;  // what it is said to be: "qcow2", "raw" or "vmdk"; absent: anything
    Locking locking = Locking::qemu;
    std::uint64_t virtual_bytes_max = 16 * TiB;  // a larger disk is a reason: no common file system holds it
};

// Why an image is not safe. `code` is one of the words in qimg-info(1), which stay what they are.
struct UnsafeReason {
    std::string code;
    std::string text;  // one line, safe to print
};

struct Verdict {
    std::string format;                          // by the first bytes
    std::optional<std::uint64_t> virtual_bytes;  // absent: cannot be told
    std::uint64_t file_bytes = 0;
    std::vector<UnsafeReason> reasons;

    bool is_safe() const { return reasons.empty(); }
};

// Opens that one file, whatever its header names, for reading. Work and memory are bounded by the file's size.
// Errors: of Opener::open, and of reading; what is wrong with the image is a reason.
Result<Verdict> inspect_untrusted(const InspectOptions& options, Opener& opener = file_opener());

}  // namespace qimg
