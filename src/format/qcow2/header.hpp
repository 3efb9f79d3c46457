// Header: a qcow2 file's first cluster, parsed and checked, or built.
//
// parse_header is the one place where header fields are range-checked; what it returns can be trusted as far
// as the header alone can tell. Whether a table really lies inside the file is checked where it is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "format/compression.hpp"
#include "format/qcow2/disk_layout.hpp"
#include "format/qcow2/geometry.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

// A header extension kept as it was found: unknown ones survive every rewrite.
struct Extension {
    std::uint32_t type = 0;
    Bytes data;
};

struct Header {
    unsigned version = 3;
    Geometry geometry;
    std::uint64_t size = 0;  // virtual size, bytes
    std::uint32_t l1_entries = 0;
    HostOffset l1_table;
    HostOffset refcount_table;
    std::uint32_t refcount_table_clusters = 0;
    std::uint32_t snapshot_count = 0;
    HostOffset snapshot_table;
    std::uint64_t incompatible = 0;
    std::uint64_t compatible = 0;
    std::uint64_t autoclear = 0;
    Codec codec = Codec::zlib;
    bool is_encrypted = false;  // with AES
    std::optional<std::string> backing_file;
    std::vector<Extension> extensions;                  // in file order, without the end marker
    Bytes unknown_fields;                               // header bytes past those known here, kept on rewrite
    std::uint32_t header_bytes = sizeof(disk::Header);  // header_length as it is in the file
    HostOffset backing_file_at;                         // where the file has the backing file name

    bool is(std::uint64_t incompatible_bit) const { return (incompatible & incompatible_bit) != 0; }
    bool has_data_file() const { return is(disk::incompatible_data_file); }
    // Bitmaps that are not stale.
    bool has_bitmaps() const { return (autoclear & disk::autoclear_bitmaps) != 0; }
    bool data_file_raw() const { return has_data_file() && (autoclear & disk::autoclear_data_file_raw) != 0; }

    const Extension* find(std::uint32_t type) const;
    // Replaces the extension of that type, or adds it; without data it is removed.
    void set_extension(std::uint32_t type, std::span<const std::byte> data);
    void set_text_extension(std::uint32_t type, std::string_view text);
    std::optional<std::string> text_extension(std::uint32_t type) const;
    std::optional<std::string> backing_format() const {
        return text_extension(disk::extension_backing_format);
    }
};

// True when the first bytes are a qcow2 header's magic.
bool has_magic(std::span<const std::byte> first_bytes);

// Reads and checks the header. Errors: corrupt and unsupported in QEMU's words, with the field and its value
// as detail. qcow2 "Header", "Header extensions".
Result<Header> read_header(const Storage& storage);

// The parts that a header is read in, in this order.
enum class HeaderPart { start, extensions, features, codec, encryption, tables, backing_name };

struct HeaderFault {
    HeaderPart part;
    Error error;  // as of read_header()
};

// A header with all that is wrong with it, the first thing first; without faults it is what read_header()
// gives. Its parts with faults, and all parts when it is the start, are as they would be in an empty header,
// or half read: to be told about, not to be used. Errors: those of the storage.
struct ExaminedHeader {
    Header header;
    std::vector<HeaderFault> faults;
};
Result<ExaminedHeader> examine_header(const Storage& storage);

// The fixed fields alone, as long as the file's header has them: less than a sector, so that writing them at
// offset 0 happens at once or not at all. Extensions and the backing file name stay as they are.
Bytes serialize_fields(const Header& header);

enum class FeatureNames {
    where_they_fit,
    leave_out,
};

// The bytes of the header with its extensions, the feature name table (version 3) and the backing file name.
// Errors: no_space when that is longer than a cluster.
// Sets header_bytes and backing_file_at to where they are now.
Result<Bytes> serialize_header(Header& header, FeatureNames names = FeatureNames::where_they_fit);

}  // namespace qimg::qcow2
