// Giving back what is left over after much was freed: refcount blocks that count nothing, and the file's end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

// Flushes, drops empty refcount blocks and cuts the file behind its last cluster in use. A crash leaves leaked
// clusters at worst. Errors: those of the file; corrupt when refcounts call metadata behind the cut free.
Result<void> trim(Qcow2& image);

}  // namespace qimg::qcow2
