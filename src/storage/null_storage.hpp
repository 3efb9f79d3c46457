// A storage without a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "qimg/storage.hpp"

namespace qimg {

// So many zeroes; what is written is lost.
std::unique_ptr<Storage> null_storage(std::uint64_t bytes, std::string name);

}  // namespace qimg
