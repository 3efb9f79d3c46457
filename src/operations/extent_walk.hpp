// Extents as the commands tell them that ask where data is: one that lies in a hole of its file is known to
// read as zeroes without being read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "qimg/image.hpp"

namespace qimg {

struct FileExtent {
    Extent extent;
    bool is_hole = false;  // data that was never written: reads as zeroes

    bool reads_as_zeroes() const {
        return is_hole || extent.kind == ExtentKind::zeroes || extent.kind == ExtentKind::unallocated;
    }
};

// The image of the chain that an extent comes from.
const Image& layer_of(const Image& top, const Extent& extent);

enum class Holes {
    as_told_by_qemu,  // of an external data file, none
    all,              // for those who would read them otherwise
};

class ExtentWalk {
  public:
    // The image must outlive it.
    explicit ExtentWalk(const Image& top, Holes holes = Holes::as_told_by_qemu) : top_(top), holes_(holes) {}

    // As Image::extent; what is partly in a hole is cut where the hole starts or ends.
    Result<FileExtent> at(GuestRange range);
    // Whether the file of the layer has far less space than its length says, as after preallocation=metadata.
    // Only then are clusters that hold nothing worth looking for.
    Result<bool> is_sparse(const Image& layer, unsigned depth);

  private:
    const Image& top_;
    Holes holes_;
    std::vector<std::optional<bool>> sparse_;  // by depth, as far as it is known
};

}  // namespace qimg
