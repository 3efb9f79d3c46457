// The qcow2 structures as they lie in a file. Source: QEMU's docs/interop/qcow2, cited as qcow2 "Section".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"

namespace qimg::qcow2::disk {

inline constexpr std::uint32_t magic = 0x514649fb;  // "QFI\xfb"

// qcow2 "Header"
struct Header {
    be32 magic;
    be32 version;
    be64 backing_file_offset;
    be32 backing_file_size;
    be32 cluster_bits;
    be64 size;
    be32 crypt_method;
    be32 l1_size;
    be64 l1_table_offset;
    be64 refcount_table_offset;
    be32 refcount_table_clusters;
    be32 nb_snapshots;
    be64 snapshots_offset;
    // version 3
    be64 incompatible_features;
    be64 compatible_features;
    be64 autoclear_features;
    be32 refcount_order;
    be32 header_length;
    // "Additional fields"
    std::uint8_t compression_type;
    std::array<std::uint8_t, 7> padding;
};
static_assert(offsetof(Header, l1_table_offset) == 40);
static_assert(offsetof(Header, incompatible_features) == 72);
static_assert(offsetof(Header, compression_type) == 104);
static_assert(sizeof(Header) == 112);

inline constexpr std::uint32_t crypt_method_aes = 1;
inline constexpr std::uint32_t header_bytes_v2 = 72;
inline constexpr std::uint32_t header_bytes_v3_min = 104;

// qcow2 "Header", incompatible_features, compatible_features, autoclear_features
inline constexpr std::uint64_t incompatible_dirty = 1u << 0;
inline constexpr std::uint64_t incompatible_corrupt = 1u << 1;
inline constexpr std::uint64_t incompatible_data_file = 1u << 2;
inline constexpr std::uint64_t incompatible_compression = 1u << 3;
inline constexpr std::uint64_t incompatible_extended_l2 = 1u << 4;
inline constexpr std::uint64_t incompatible_known = 0x1f;
inline constexpr std::uint64_t compatible_lazy_refcounts = 1u << 0;
inline constexpr std::uint64_t autoclear_bitmaps = 1u << 0;
inline constexpr std::uint64_t autoclear_data_file_raw = 1u << 1;
// What we keep up when we write; other bits must be cleared then.
inline constexpr std::uint64_t autoclear_known = autoclear_bitmaps | autoclear_data_file_raw;

// qcow2 "Header extensions"
struct ExtensionHeader {
    be32 type;
    be32 length;
};
inline constexpr std::uint32_t extension_end = 0;
inline constexpr std::uint32_t extension_backing_format = 0xe2792aca;
inline constexpr std::uint32_t extension_feature_names = 0x6803f857;
inline constexpr std::uint32_t extension_bitmaps = 0x23852875;
inline constexpr std::uint32_t extension_luks = 0x0537be77;
inline constexpr std::uint32_t extension_data_file = 0x44415441;
inline constexpr std::uint32_t extension_pin = 0x7170696e;  // "qpin": ours, see qimg-pins(7)

// What an overlay remembers of its base; the digest of its content follows when the flag says so.
struct PinExtension {
    std::uint8_t layout;  // 1
    std::uint8_t format;
    std::uint8_t flags;
    std::uint8_t reserved;
    be32 modified_nanoseconds;
    be64 modified_seconds;  // two's complement
    be64 file_bytes;
    be64 disk_bytes;
    std::array<std::uint8_t, 32> digest;
};
static_assert(sizeof(PinExtension) == 64);
inline constexpr std::uint8_t pin_layout = 1;
inline constexpr std::uint8_t pin_format_raw = 1;
inline constexpr std::uint8_t pin_format_qcow2 = 2;
inline constexpr std::uint8_t pin_has_content = 1u << 0;
inline constexpr std::uint8_t pin_has_time = 1u << 1;

// qcow2 "Feature name table"
struct FeatureName {
    std::uint8_t type;  // 0 incompatible, 1 compatible, 2 autoclear
    std::uint8_t bit;
    std::array<char, 46> name;
};
static_assert(sizeof(FeatureName) == 48);

// qcow2 "Bitmaps extension"
struct BitmapsExtension {
    be32 nb_bitmaps;
    be32 reserved;
    be64 directory_size;
    be64 directory_offset;
};
static_assert(sizeof(BitmapsExtension) == 24);

// qcow2 "Bitmap directory"; extra data, name and padding to 8 bytes follow
struct BitmapEntry {
    be64 table_offset;
    be32 table_size;
    be32 flags;
    std::uint8_t type;
    std::uint8_t granularity_bits;
    be16 name_size;
    be32 extra_data_size;
};
static_assert(sizeof(BitmapEntry) == 24);
inline constexpr std::uint32_t bitmap_in_use = 1u << 0;
inline constexpr std::uint32_t bitmap_auto = 1u << 1;
inline constexpr std::uint32_t bitmap_known_flags = 0x3;
inline constexpr std::uint8_t bitmap_dirty_tracking = 1;
inline constexpr std::uint64_t bitmap_all_ones = 1;  // a table entry without a cluster

// qcow2 "Snapshots"; extra data, id, name and padding to 8 bytes follow
struct SnapshotEntry {
    be64 l1_table_offset;
    be32 l1_size;
    be16 id_size;
    be16 name_size;
    be32 date_seconds;
    be32 date_nanoseconds;
    be64 vm_clock_nanoseconds;
    be32 vm_state_bytes;
    be32 extra_data_size;
};
static_assert(sizeof(SnapshotEntry) == 40);

struct SnapshotExtra {
    be64 vm_state_bytes;
    be64 disk_bytes;
    be64 icount;  // all ones: none
};
static_assert(sizeof(SnapshotExtra) == 24);

// Entries of L1, L2, refcount and bitmap tables: qcow2 "Cluster mapping", "Host cluster management"
inline constexpr std::uint64_t flag_copied = 1ull << 63;
inline constexpr std::uint64_t flag_compressed = 1ull << 62;
inline constexpr std::uint64_t flag_zero = 1ull << 0;
inline constexpr std::uint64_t offset_mask = 0x00fffffffffffe00ull;           // bits 9 to 55
inline constexpr std::uint64_t refcount_offset_mask = 0xfffffffffffffe00ull;  // bits 9 to 63
inline constexpr std::uint64_t l1_reserved_mask = 0x7f000000000001ffull;
inline constexpr std::uint64_t l2_reserved_mask = 0x3f000000000001feull;

}  // namespace qimg::qcow2::disk
