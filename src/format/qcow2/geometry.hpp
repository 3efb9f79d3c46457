// Geometry: cluster size, entry widths, and every conversion that follows from them. Nobody else shifts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "qimg/units.hpp"

namespace qimg::qcow2 {

// QEMU's limits, which keep what a hostile header can ask for small.
inline constexpr unsigned cluster_bits_min = 9;
inline constexpr unsigned cluster_bits_max = 21;
inline constexpr unsigned cluster_bits_min_extended_l2 = 14;
inline constexpr unsigned refcount_order_max = 6;
inline constexpr std::uint64_t l1_table_bytes_max = 32 * MiB;
inline constexpr std::uint64_t refcount_table_bytes_max = 8 * MiB;
inline constexpr std::uint64_t snapshots_max = 65536;
inline constexpr std::uint64_t snapshot_table_bytes_max = 64 * MiB;
inline constexpr std::uint64_t snapshot_extra_bytes_max = 1024;
inline constexpr std::uint64_t snapshot_extra_bytes_min = 16;  // of version 3
inline constexpr std::uint64_t bitmaps_max = 65535;
inline constexpr std::uint64_t bitmap_directory_bytes_max = 1024 * bitmaps_max;
inline constexpr std::uint64_t bitmap_bytes_max = 512 * MiB;
inline constexpr std::uint64_t backing_name_bytes_max = 1023;
inline constexpr unsigned subclusters_per_cluster = 32;
inline constexpr std::uint64_t host_offset_end = 1ull << 56;  // what table entries can address
inline constexpr std::uint64_t table_entry_bytes = 8;

class Geometry {
  public:
    constexpr Geometry() = default;
    constexpr Geometry(unsigned cluster_bits, unsigned refcount_order, bool extended_l2,
                       bool external_data = false)
        : cluster_bits_(cluster_bits),
          refcount_order_(refcount_order),
          extended_l2_(extended_l2),
          external_data_(external_data) {}

    constexpr unsigned cluster_bits() const { return cluster_bits_; }
    constexpr std::uint64_t cluster_bytes() const { return 1ull << cluster_bits_; }
    constexpr bool extended_l2() const { return extended_l2_; }
    // Guest data is in a file of its own, where offset 0 is a place like any other.
    constexpr bool external_data() const { return external_data_; }
    constexpr std::uint64_t subcluster_bytes() const {
        return extended_l2_ ? cluster_bytes() / subclusters_per_cluster : cluster_bytes();
    }

    // L2 tables: one cluster each, 8 or 16 bytes an entry.
    constexpr std::uint64_t l2_entry_bytes() const { return extended_l2_ ? 16 : 8; }
    constexpr std::uint64_t l2_entries() const { return cluster_bytes() / l2_entry_bytes(); }
    // Guest bytes that one L2 table maps.
    constexpr std::uint64_t l2_reach_bytes() const { return l2_entries() << cluster_bits_; }
    constexpr std::uint64_t l1_index(GuestOffset at) const { return at.bytes / l2_reach_bytes(); }
    constexpr std::uint64_t l2_index(GuestOffset at) const {
        return (at.bytes >> cluster_bits_) % l2_entries();
    }
    constexpr std::uint64_t l1_entries_for(std::uint64_t guest_bytes) const {
        return divide_up(guest_bytes, l2_reach_bytes());
    }

    // Refcount blocks: one cluster each.
    constexpr unsigned refcount_order() const { return refcount_order_; }
    constexpr unsigned refcount_bits() const { return 1u << refcount_order_; }
    constexpr std::uint64_t refcount_max() const {
        return refcount_order_ == 6 ? ~0ull : (1ull << refcount_bits()) - 1;
    }
    constexpr std::uint64_t refcount_block_entries() const { return 1ull << refcount_block_bits(); }
    // Which block counts a cluster, and by which of its entries.
    constexpr std::uint64_t refcount_block_of(std::uint64_t cluster) const {
        return cluster >> refcount_block_bits();
    }
    constexpr std::uint64_t refcount_entry_of(std::uint64_t cluster) const {
        return cluster & (refcount_block_entries() - 1);
    }

    // Host clusters, numbered from the start of the file.
    constexpr std::uint64_t cluster_at(HostOffset at) const { return at.bytes >> cluster_bits_; }
    constexpr HostOffset offset_of(std::uint64_t cluster) const {
        return HostOffset(cluster << cluster_bits_);
    }
    constexpr std::uint64_t clusters_for(std::uint64_t bytes) const {
        return divide_up(bytes, cluster_bytes());
    }
    constexpr bool is_cluster_aligned(std::uint64_t bytes) const {
        return is_aligned(bytes, cluster_bytes());
    }

    // qcow2 "Compressed Clusters Descriptor": the offset has x bits, the sector count the rest below bit 62.
    constexpr unsigned compressed_offset_bits() const { return 62 - (cluster_bits_ - 8); }

  private:
    constexpr unsigned refcount_block_bits() const { return cluster_bits_ + 3 - refcount_order_; }

    unsigned cluster_bits_ = 16;
    unsigned refcount_order_ = 4;
    bool extended_l2_ = false;
    bool external_data_ = false;
};

}  // namespace qimg::qcow2
