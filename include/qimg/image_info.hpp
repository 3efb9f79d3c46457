// ImageInfo: what an image says about itself.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/file_users.hpp"

namespace qimg {

// qcow2 "Snapshots"
struct SnapshotInfo {
    std::string id;
    std::string name;
    std::uint64_t vm_state_bytes = 0;
    std::uint32_t date_seconds = 0;  // since the Epoch
    std::uint32_t date_nanoseconds = 0;
    std::uint64_t vm_clock_nanoseconds = 0;
    std::optional<std::uint64_t> icount;
    std::uint64_t disk_bytes = 0;
};

// qcow2 "Bitmaps"
struct BitmapInfo {
    std::string name;
    std::uint64_t granularity_bytes = 0;
    bool in_use = false;
    bool automatic = false;
};

struct Qcow2Info {
    unsigned version = 3;
    bool has_data_file = false;
    std::optional<std::string> data_file;  // its name, where the header has one
    bool data_file_raw = false;
    bool extended_l2 = false;
    bool lazy_refcounts = false;
    bool corrupt = false;
    bool is_encrypted = false;  // with AES
    unsigned refcount_bits = 16;
    std::string compression_type = "zlib";
    std::vector<BitmapInfo> bitmaps;
};

// A disk in one file: its descriptor and its only extent.
struct VmdkInfo {
    std::uint32_t cid = 0;
    std::uint32_t parent_cid = 0;
    std::string create_type;
    bool compressed = false;
    std::uint64_t extent_bytes = 0;  // of the disk
    std::string extent_path;
    std::uint64_t grain_bytes = 0;
};

// How requests to an image are best laid out, in bytes.
struct RequestLimits {
    std::uint64_t request_alignment = 1;
    std::optional<std::uint64_t> discard_alignment;
    std::optional<std::uint64_t> write_zeroes_alignment;
    std::uint64_t max_iov = 0;  // buffers in one request
    std::uint64_t min_memory_alignment = 0;
    std::uint64_t opt_memory_alignment = 0;
};

struct ImageInfo {
    std::string path;
    std::string format;
    std::uint64_t virtual_bytes = 0;
    std::optional<std::uint64_t> allocated_bytes;  // absent: cannot be told
    bool dirty = false;
    std::optional<std::uint64_t> cluster_bytes;
    std::optional<std::string> backing_file;  // as the header says it
    std::optional<std::string> full_backing_file;
    std::optional<std::string> backing_format;
    std::vector<SnapshotInfo> snapshots;
    std::optional<Qcow2Info> qcow2;
    std::optional<VmdkInfo> vmdk;
    std::optional<RequestLimits> limits;  // when they were asked for
    std::vector<FileUser> users;          // when they were asked for; without this process
};

}  // namespace qimg
