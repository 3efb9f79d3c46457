// Counting clusters that are not there yet.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/file_size.hpp"

#include "format/qcow2/disk_layout.hpp"

namespace qimg::qcow2 {

namespace {

constexpr std::uint64_t bits_per_byte = 8;

// Refcount blocks count themselves and the clusters of their table, so more of them may ask for more again.
std::uint64_t refcount_clusters(const Geometry& geometry, std::uint64_t others) {
    std::uint64_t all = others;
    while (true) {
        const std::uint64_t blocks = divide_up(all, geometry.refcount_block_entries());
        const std::uint64_t table = geometry.clusters_for(blocks * table_entry_bytes);
        if (others + blocks + table == all) return blocks + table;
        all = others + blocks + table;
    }
}

}  // namespace

std::uint64_t full_file_bytes(const Geometry& geometry, std::uint64_t guest_bytes) {
    const std::uint64_t data = geometry.clusters_for(guest_bytes);
    const std::uint64_t l2_tables = geometry.l1_entries_for(guest_bytes);
    const std::uint64_t l1 = geometry.clusters_for(l2_tables * table_entry_bytes);
    const std::uint64_t others = 1 + l1 + l2_tables + data;
    return (others + refcount_clusters(geometry, others)) * geometry.cluster_bytes();
}

std::uint64_t bitmaps_bytes(const Geometry& geometry, std::uint64_t guest_bytes,
                            std::span<const Bitmap> bitmaps) {
    std::uint64_t clusters = 0;
    std::uint64_t directory_bytes = 0;
    for (const Bitmap& bitmap : bitmaps) {
        const std::uint64_t bits = divide_up(guest_bytes, bitmap.info.granularity_bytes);
        const std::uint64_t data = geometry.clusters_for(divide_up(bits, bits_per_byte));
        clusters += data + geometry.clusters_for(data * table_entry_bytes);
        directory_bytes += round_up(sizeof(disk::BitmapEntry) + bitmap.info.name.size(), 8);
    }
    return (clusters + geometry.clusters_for(directory_bytes)) * geometry.cluster_bytes();
}

}  // namespace qimg::qcow2
