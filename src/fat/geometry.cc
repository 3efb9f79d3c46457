// Chooses the size of a volume and of its clusters.
// SPDX-License-Identifier: Apache-2.0
#include "fat/geometry.hpp"

#include "base/text.hpp"

namespace qimg::fat {

namespace {

constexpr std::uint64_t volume_bytes_max =
    2047 * MiB;  // more would need clusters of 64 KiB, which not all systems read
constexpr std::uint32_t sectors_per_cluster_min = 1;
constexpr std::uint32_t fat16_clusters_max = 65524;

Geometry geometry_of(std::uint64_t bytes) {
    Geometry geometry;
    geometry.total_sectors = static_cast<std::uint32_t>(bytes / logical_sector_bytes);
    geometry.sectors_per_cluster = sectors_per_cluster_min;
    while (geometry.total_sectors / geometry.sectors_per_cluster > fat16_clusters_max) {
        geometry.sectors_per_cluster *= 2;
    }
    // Enough table for every sector after the fixed parts: a little more than the clusters then need.
    const std::uint32_t root_sectors = root_bytes / logical_sector_bytes;
    const std::uint32_t after_fixed = geometry.total_sectors - reserved_sectors - root_sectors;
    const std::uint32_t entries = after_fixed / geometry.sectors_per_cluster + first_data_cluster;
    const bool may_be_fat16 = entries >= 4085;
    const std::uint32_t fat_bytes = may_be_fat16 ? entries * 2 : entries * 3 / 2 + 1;
    geometry.sectors_per_fat = static_cast<std::uint32_t>(divide_up(fat_bytes, logical_sector_bytes));
    geometry.clusters = (after_fixed - fat_count * geometry.sectors_per_fat) / geometry.sectors_per_cluster;
    return geometry;
}

}  // namespace

Result<Geometry> geometry_for(std::span<const VolumeFile> files) {
    for (std::uint64_t bytes = MiB; bytes <= volume_bytes_max; bytes += MiB) {
        const Geometry geometry = geometry_of(bytes);
        std::uint64_t needed = 0;
        for (const VolumeFile& file : files)
            needed += geometry.clusters_of(file.contents.size());
        if (needed <= geometry.clusters) return geometry;
    }
    return fail(ErrorKind::invalid_argument, "the files do not fit into a FAT16 volume of 2047 MiB");
}

}  // namespace qimg::fat
