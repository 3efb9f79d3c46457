// The descriptor: the text in the image that names the disk's kind, its extents and its parent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "qimg/error.hpp"
#include "qimg/layout.hpp"

namespace qimg::vmdk {

inline constexpr std::uint32_t no_parent = 0xffffffff;

struct Descriptor {
    std::uint32_t cid = 0;  // another one whenever the content was changed
    std::uint32_t parent_cid = no_parent;
    std::string create_type;  // "monolithicSparse" or "streamOptimized"
};

// From the text, up to its first byte 0. Errors: corrupt for one without a CID or an extent, unsupported for a
// disk of several files, and for one with a parent.
Result<Descriptor> parse_descriptor(std::string_view text);

// The digits of the CID in the text, which was parsed: 1 to 8, as QEMU writes no zeroes in front.
std::string_view cid_digits(std::string_view text);
// The digits of the extent's length in sectors, likewise.
std::string_view extent_digits(std::string_view text);
// Another number with as many digits, so that it can be written over the old one.
std::string another_cid(std::string_view digits);
// Not no_parent.
std::uint32_t new_cid();

// The text of a new image. `name` is the file's, without a folder. Errors: invalid_argument for values that would
// not stay on their line.
Result<std::string> write_descriptor(const VmdkLayout& layout, std::uint64_t size, std::string_view name,
                                     std::uint32_t cid);

}  // namespace qimg::vmdk
