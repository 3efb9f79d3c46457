// ISA-L, of which a shared library is all that there is. Most commands never need it and would take a fifth longer
// if it were loaded with the program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <isa-l/crc64.h>
#include <isa-l/igzip_lib.h>

namespace qimg {

// What is used of it, under its own names.
struct Isal {
    decltype(&::crc64_ecma_refl) crc64_ecma_refl;
    decltype(&::isal_deflate_init) isal_deflate_init;
    decltype(&::isal_deflate_reset) isal_deflate_reset;
    decltype(&::isal_deflate) isal_deflate;
};

// Loads it when it is asked for first, and keeps it; nullptr where it is not installed, or a sandbox keeps files
// closed. What it does, callers can do more slowly.
const Isal* load_isal();

}  // namespace qimg
