// The disk of an open qcow2 image made longer or shorter, for every operation that does so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"
#include "qimg/image.hpp"
#include "qimg/layout.hpp"
#include "qimg/progress.hpp"

namespace qimg {

// `format` is that of `image`. What is added reads as zeroes, also over a longer backing file; `preallocation`
// is for that part. Errors: those of qcow2::grow and qcow2::shrink.
Result<void> resize_disk(Image& image, qcow2::Qcow2& format, std::uint64_t bytes, Preallocation preallocation,
                         Progress& progress);

// The same for a disk of any format that has a file of its own. Errors: those of vmdk::Vmdk::grow, too.
Result<void> lengthen_disk(Image& image, std::uint64_t bytes);

// Of the part that a disk becomes longer by: what guests would see there, other than zeroes, if its size alone changed.
// The rest of the last cluster, and a backing image that goes on: that one may become longer yet, so then all of it.
GuestRange exposed_part(const Image& image, GuestRange added);

}  // namespace qimg
