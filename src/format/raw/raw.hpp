// Raw: guest bytes are host bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "format/format.hpp"

namespace qimg::raw {

// A disk of as many bytes as the file has, rounded up to whole sectors as QEMU does.
Result<std::unique_ptr<Format>> open(std::unique_ptr<Storage> storage);

}  // namespace qimg::raw
