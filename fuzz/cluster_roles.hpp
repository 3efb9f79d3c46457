// Whether each host cluster of an image has one purpose. Where tables lie in guest data, or in each other, no
// change can keep its promises, although the refcounts agree; nor where they count clusters that are not there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "format/qcow2/qcow2.hpp"

namespace qimg::fuzz {

// False also for an image whose tables cannot be read.
bool has_plain_roles(qcow2::Qcow2& image);

}  // namespace qimg::fuzz
