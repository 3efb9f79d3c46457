// Checking the tables of a vmdk image. Nothing is repaired, and no grain is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "format/vmdk/vmdk.hpp"
#include "qimg/check_report.hpp"
#include "qimg/error.hpp"

namespace qimg::vmdk {

// Looks whether every grain begins inside the file; what does not is told, and counts as an error of the check, as
// in qemu-img. `grains` gets how many hold data. Errors: those of the storage.
Result<CheckReport> check_image(const Vmdk& image, const std::function<void(const std::string&)>& on_finding,
                                std::uint64_t& grains);

}  // namespace qimg::vmdk
