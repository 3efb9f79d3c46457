// Many changes of what guests see, and a longer disk with them, in one step: guests see all of them or none, whenever
// the program or the machine stops.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

struct ChangedPart {
    GuestRange range;
    bool zeroes = false;  // all of it is to read as zeroes
};

// A disk as guests are to see it.
struct NewDisk {
    std::uint64_t bytes = 0;  // not shorter than it is
    std::vector<ChangedPart>
        changes;  // by offset, not overlapping, inside the new disk; the rest stays as it is
    // Any part of the new disk, also around the changes, where clusters are larger than those.
    std::function<Result<void>(GuestOffset at, std::span<std::byte> into)> read;
};

// Errors: unsupported, with the reason, for an image with an external data file, and for a longer disk with snapshots in
// version 2; no_space; invalid_argument for a shorter disk.
Result<void> check_can_replace(const Qcow2& image, std::uint64_t bytes);

// Each changed cluster, each table that leads to one and the L1 table get new places; one write of the header makes
// them the image's, bitmaps that know of it included, and what they replace is given back. Snapshots keep what they
// have. Whoever goes on with `image` finds it as it is in the file then. Errors: those above, and of reading and
// writing: guests see what they saw, and space may have leaked.
Result<void> replace_disk(Qcow2& image, const NewDisk& disk);

}  // namespace qimg::qcow2
