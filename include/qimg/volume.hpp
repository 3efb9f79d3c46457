// What the small volume writers (ISO 9660, FAT) take: named files for a flat root folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace qimg {

struct VolumeFile {
    std::string name;      // printable ASCII, as a guest is to see it
    std::string contents;  // any bytes
};

}  // namespace qimg
