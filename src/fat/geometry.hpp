// Sizes of a FAT volume: how many clusters, which kind of table, where each part begins.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "qimg/error.hpp"
#include "qimg/units.hpp"
#include "qimg/volume.hpp"

namespace qimg::fat {

// A CD-ROM's: Linux mounts the volume from a CD-ROM drive as well as from a disk with smaller sectors.
inline constexpr std::uint32_t logical_sector_bytes = 2048;
inline constexpr std::uint32_t reserved_sectors = 1;
inline constexpr std::uint32_t fat_count = 2;
inline constexpr std::uint32_t root_entries = 512;
inline constexpr std::uint32_t root_bytes = root_entries * 32;
inline constexpr std::uint32_t first_data_cluster = 2;

struct Geometry {
    std::uint32_t total_sectors = 0;
    std::uint32_t sectors_per_cluster = 0;
    std::uint32_t sectors_per_fat = 0;
    std::uint32_t clusters = 0;

    // The number of clusters alone decides (FAT specification, section 3.5).
    bool is_fat12() const { return clusters < 4085; }
    std::uint64_t cluster_bytes() const { return std::uint64_t{sectors_per_cluster} * logical_sector_bytes; }
    std::uint64_t clusters_of(std::uint64_t bytes) const { return divide_up(bytes, cluster_bytes()); }
    HostOffset fat(std::uint32_t index) const {
        return HostOffset((reserved_sectors + std::uint64_t{index} * sectors_per_fat) * logical_sector_bytes);
    }
    HostOffset root() const { return fat(fat_count); }
    HostOffset cluster(std::uint64_t number) const {
        return root() + root_bytes + (number - first_data_cluster) * cluster_bytes();
    }
    std::uint64_t total_bytes() const { return std::uint64_t{total_sectors} * logical_sector_bytes; }
};

// The smallest volume of whole MiB that holds the files. Errors: invalid_argument past 2047 MiB.
Result<Geometry> geometry_for(std::span<const VolumeFile> files);

}  // namespace qimg::fat
