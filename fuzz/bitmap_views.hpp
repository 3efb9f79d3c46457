// What the bitmaps of an image say, to compare before and after a change.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg::fuzz {

struct BitmapView {
    bool is_recording = false;
    std::vector<bool> dirty_sectors;
};
using BitmapViews = std::map<std::string, BitmapView>;

// Those that can be believed: not in use, and with a table that can be read.
BitmapViews believable_bitmaps(qcow2::Qcow2& image);

struct DiskChange {
    const Bytes& before;
    const Bytes& after;
};

// The name of a bitmap that has gone, that has forgotten something, or that recorded and does not tell of a sector
// that changed; empty when there is none.
std::string forgetful_bitmap(const BitmapViews& before, const BitmapViews& after, const DiskChange& disk);

}  // namespace qimg::fuzz
