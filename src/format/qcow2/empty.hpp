// Taking everything out of an image, so that its backing file shows through.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

// Empties the active disk, gives its space back and cuts the file behind what is left; internal snapshots
// keep theirs. A crash leaves each guest byte as it was or taken out, so whoever cannot do with a mixture
// makes sure first that the backing file has the same content. Errors: those of the file; corrupt.
Result<void> empty(Qcow2& image);

}  // namespace qimg::qcow2
