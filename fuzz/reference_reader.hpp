// A second qcow2 reader, written from the specification alone, to hold libqimg's against: slow, byte by byte,
// one guest cluster at a time. It shares no code with the library and must not begin to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace qimg::fuzz {

enum class ReferenceKind { unallocated, zero, data, refused };

// One subcluster; without extended L2 entries, one cluster. `bytes` are there for data.
struct ReferenceUnit {
    ReferenceKind kind = ReferenceKind::refused;
    std::vector<std::uint8_t> bytes;
};

class ReferenceReader {
  public:
    // Both files must stay. `data_file` is read by images that have an external one. Nothing for an image that
    // breaks a rule of the header, or needs what this reader does not have (encryption).
    static std::optional<ReferenceReader> open(std::span<const std::uint8_t> file,
                                               std::span<const std::uint8_t> data_file);

    std::uint64_t disk_bytes() const { return disk_bytes_; }
    std::uint64_t cluster_bytes() const { return 1ull << cluster_bits_; }
    std::uint64_t unit_bytes() const { return extended_l2_ ? cluster_bytes() / 32 : cluster_bytes(); }
    // How clusters are compressed that are.
    bool is_zstd() const { return zstd_; }
    // Backing file name; empty when there is none.
    const std::string& backing_file() const { return backing_file_; }

    // The unit that begins at `guest`, a multiple of unit_bytes().
    ReferenceUnit read(std::uint64_t guest) const;

  private:
    bool parse_version_3(std::uint32_t header_length);
    bool parse_extensions(std::uint32_t header_length, std::uint64_t end) const;
    bool parse_tables();
    bool parse_backing_file();
    bool is_bounded(std::uint64_t l1_entries) const;
    std::uint64_t field(std::uint64_t at, unsigned bytes) const;
    ReferenceUnit standard(std::uint64_t entry, std::uint64_t guest) const;
    ReferenceUnit extended(std::uint64_t entry, std::uint64_t bitmap, std::uint64_t guest) const;
    ReferenceUnit compressed(std::uint64_t entry, std::uint64_t guest) const;
    ReferenceUnit stored(std::uint64_t host) const;

    std::span<const std::uint8_t> file_;
    std::span<const std::uint8_t> data_file_;
    unsigned version_ = 0;
    unsigned cluster_bits_ = 0;
    std::uint64_t disk_bytes_ = 0;
    std::uint64_t l1_table_ = 0;
    bool is_readable_ = true;  // whatever its clusters are
    bool has_data_file_ = false;
    bool extended_l2_ = false;
    bool zstd_ = false;
    std::string backing_file_;
};

}  // namespace qimg::fuzz
