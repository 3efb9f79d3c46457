// L2Entry: what one entry of an L2 table says about its guest cluster.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "format/qcow2/disk_layout.hpp"
#include "format/qcow2/geometry.hpp"
#include "qimg/units.hpp"

namespace qimg::qcow2 {

enum class ClusterKind { unallocated, zero_plain, zero_allocated, normal, compressed };
enum class SubclusterKind { unallocated, zeroes, data };

// Where a compressed cluster's data lies: from `host` to the end of its last 512-byte sector. The codec
// stops by itself, so the data may end earlier, and another cluster's may begin there.
struct CompressedPlace {
    HostOffset host;
    std::uint64_t bytes = 0;
};

// The first word of an entry and, with extended L2 entries, the subcluster bitmap.
struct L2Entry {
    std::uint64_t word = 0;
    std::uint64_t bitmap = 0;

    constexpr bool is_compressed() const { return (word & disk::flag_compressed) != 0; }
    constexpr bool is_copied() const { return (word & disk::flag_copied) != 0; }
    constexpr HostOffset host() const { return HostOffset(word & disk::offset_mask); }
    // A standard entry with a host cluster. Only with an external data file is host offset 0 a real one, told
    // by the copied flag; in the image's own file the header is there.
    constexpr bool has_host(const Geometry& geometry) const {
        return !is_compressed() && (host().bytes != 0 || (geometry.external_data() && is_copied()));
    }

    constexpr ClusterKind kind(const Geometry& geometry) const {
        if (is_compressed()) return ClusterKind::compressed;
        const bool zero = !geometry.extended_l2() && (word & disk::flag_zero) != 0;
        if (zero) return has_host(geometry) ? ClusterKind::zero_allocated : ClusterKind::zero_plain;
        return has_host(geometry) ? ClusterKind::normal : ClusterKind::unallocated;
    }

    // With extended L2 entries; `index` below 32.
    constexpr SubclusterKind subcluster(unsigned index) const {
        if ((bitmap >> index & 1) != 0) return SubclusterKind::data;
        return (bitmap >> (index + subclusters_per_cluster) & 1) != 0 ? SubclusterKind::zeroes
                                                                      : SubclusterKind::unallocated;
    }
    // qcow2 "Extended L2 Entries": no subcluster is both allocated and zero, and data needs a host cluster.
    constexpr bool is_bitmap_valid(const Geometry& geometry) const {
        const std::uint64_t allocated = bitmap & 0xffffffff;
        return (allocated & bitmap >> subclusters_per_cluster) == 0 && (allocated == 0 || has_host(geometry));
    }

    constexpr CompressedPlace compressed(const Geometry& geometry) const {
        const unsigned offset_bits = geometry.compressed_offset_bits();
        const std::uint64_t at = word & ((1ull << offset_bits) - 1);
        const std::uint64_t more_sectors =
            (word & ~(disk::flag_compressed | disk::flag_copied)) >> offset_bits;
        return CompressedPlace{HostOffset(at), (more_sectors + 1) * sector_bytes - at % sector_bytes};
    }

    // An entry for `bytes` of compressed data at `host`.
    static constexpr L2Entry for_compressed(const Geometry& geometry, HostOffset host, std::uint64_t bytes) {
        const std::uint64_t more_sectors =
            (host.bytes + bytes - 1) / sector_bytes - host.bytes / sector_bytes;
        return L2Entry{disk::flag_compressed | more_sectors << geometry.compressed_offset_bits() | host.bytes,
                       0};
    }

    friend constexpr bool operator==(const L2Entry&, const L2Entry&) = default;
};

// `count` bits from `first`, shifted to the half of the bitmap that says "allocated".
constexpr std::uint64_t subcluster_mask(unsigned first, unsigned count) {
    return ((1ull << count) - 1) << first;
}
inline constexpr std::uint64_t all_subclusters_allocated = 0x00000000ffffffffull;
inline constexpr std::uint64_t all_subclusters_zero = 0xffffffff00000000ull;

}  // namespace qimg::qcow2
