// The specification's sentences, one after the other. Quoted section names are qcow2's.
// SPDX-License-Identifier: Apache-2.0
#include "reference_reader.hpp"

#include <zlib.h>
#include <zstd.h>

namespace qimg::fuzz {

namespace {

using Bytes = std::vector<std::uint8_t>;

// Bytes past a file's end are zeroes: a file may end within its last cluster.
Bytes read_bytes(std::span<const std::uint8_t> file, std::uint64_t at, std::uint64_t count) {
    Bytes bytes(count, 0);
    for (std::uint64_t i = 0; i < count; ++i) {
        if (at < file.size() && i < file.size() - at) bytes[i] = file[at + i];
    }
    return bytes;
}

// A raw deflate stream that may go on, or be followed by anything, once the cluster is full.
bool inflate_whole(Bytes& from, Bytes& into) {
    z_stream stream{};
    if (::inflateInit2(&stream, -15) != Z_OK) return false;
    stream.next_in = from.data();
    stream.avail_in = static_cast<uInt>(from.size());
    stream.next_out = into.data();
    stream.avail_out = static_cast<uInt>(into.size());
    const int status = ::inflate(&stream, Z_FINISH);
    const bool is_full = stream.avail_out == 0;
    ::inflateEnd(&stream);
    return is_full && (status == Z_STREAM_END || status == Z_BUF_ERROR);
}

bool unzstd_whole(const Bytes& from, Bytes& into) {
    ZSTD_DStream* stream = ZSTD_createDStream();
    ZSTD_inBuffer in{from.data(), from.size(), 0};
    ZSTD_outBuffer out{into.data(), into.size(), 0};
    bool goes_on = stream != nullptr;
    while (goes_on && out.pos < out.size) {
        const std::size_t in_before = in.pos;
        const std::size_t out_before = out.pos;
        const std::size_t status = ZSTD_decompressStream(stream, &out, &in);
        goes_on = !ZSTD_isError(status) && (in.pos > in_before || out.pos > out_before);
    }
    ZSTD_freeDStream(stream);
    return goes_on;
}

}  // namespace

// "All numbers in qcow2 are stored in Big Endian byte order."
std::uint64_t ReferenceReader::field(std::uint64_t at, unsigned bytes) const {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : read_bytes(file_, at, bytes))
        value = value << 8 | byte;
    return value;
}

// "Header"
std::optional<ReferenceReader> ReferenceReader::open(std::span<const std::uint8_t> file,
                                                     std::span<const std::uint8_t> data_file) {
    ReferenceReader reader;
    reader.file_ = file;
    reader.data_file_ = data_file;
    if (reader.field(0, 4) != 0x514649fb) return std::nullopt;
    reader.version_ = static_cast<unsigned>(reader.field(4, 4));
    if (reader.version_ != 2 && reader.version_ != 3) return std::nullopt;
    const std::uint64_t cluster_bits = reader.field(20, 4);
    // 9 is the format's smallest; QEMU's largest is 21
    if (cluster_bits < 9 || cluster_bits > 21) return std::nullopt;
    reader.cluster_bits_ = static_cast<unsigned>(cluster_bits);

    const auto header_length = static_cast<std::uint32_t>(reader.version_ == 2 ? 72 : reader.field(100, 4));
    if (reader.version_ == 3 && !reader.parse_version_3(header_length)) return std::nullopt;
    if (reader.field(32, 4) != 0) return std::nullopt;  // crypt_method
    // extensions fill what is between the header and the backing file name
    std::uint64_t extensions_end = reader.cluster_bytes();
    const std::uint64_t name_at = reader.field(8, 8);
    if (name_at >= header_length && name_at < extensions_end) extensions_end = name_at;
    if (!reader.parse_extensions(header_length, extensions_end)) return std::nullopt;
    if (!reader.parse_tables() || !reader.parse_backing_file()) return std::nullopt;
    return reader;
}

// "Header", from byte 72, and "Additional fields"
bool ReferenceReader::parse_version_3(std::uint32_t header_length) {
    if (header_length < 104 || header_length % 8 != 0 || header_length > cluster_bytes()) return false;
    const std::uint64_t incompatible = field(72, 8);
    if ((incompatible & ~0x1full) != 0) return false;
    has_data_file_ = (incompatible & 1u << 2) != 0;
    extended_l2_ = (incompatible & 1u << 4) != 0;
    if (field(96, 4) > 6) return false;  // refcount_order
    const std::uint64_t compression = header_length > 104 ? field(104, 1) : 0;
    if (compression > 1) return false;
    zstd_ = compression == 1;
    // "If the incompatible bit "Compression type" is set: the field must be present and non-zero"
    if (((incompatible & 1u << 3) != 0) != zstd_) return false;
    // a subcluster has at least 512 bytes
    return !extended_l2_ || cluster_bits_ >= 14;
}

// "Header extensions"
bool ReferenceReader::parse_extensions(std::uint32_t header_length, std::uint64_t end) const {
    std::uint64_t at = header_length;
    while (at + 8 <= end) {
        const std::uint64_t type = field(at, 4);
        const std::uint64_t length = field(at + 4, 4);
        if (type == 0) return true;
        if (length > end - at - 8) return false;
        at += 8 + (length + 7) / 8 * 8;
    }
    return true;
}

// What the header says of tables, with QEMU's limits of their sizes.
bool ReferenceReader::parse_tables() {
    const auto is_place = [&](std::uint64_t at) { return at % cluster_bytes() == 0 && at < 1ull << 56; };
    disk_bytes_ = field(24, 8);
    const std::uint64_t l1_entries = field(36, 4);
    l1_table_ = field(40, 8);
    if (l1_entries > 32 * 1024 * 1024 / 8 || !is_place(l1_table_)) return false;
    const std::uint64_t l2_entries = cluster_bytes() / (extended_l2_ ? 16 : 8);
    const std::uint64_t reach = l2_entries * cluster_bytes();
    const std::uint64_t needed = disk_bytes_ / reach + (disk_bytes_ % reach != 0 ? 1 : 0);
    if (needed > l1_entries) return false;
    is_readable_ = is_bounded(l1_entries);
    if (field(56, 4) > 8 * 1024 * 1024 / cluster_bytes() || !is_place(field(48, 8))) return false;
    // nb_snapshots, snapshots_offset; the table itself is not for this reader
    return field(60, 4) == 0 || (is_place(field(64, 8)) && field(64, 8) != 0);
}

// Not the specification's, but what libqimg promises: the L1 table lies in the file, up to the end of its last
// cluster, and does not lead to more L2 tables than the file has clusters.
bool ReferenceReader::is_bounded(std::uint64_t l1_entries) const {
    const std::uint64_t clusters = (file_.size() + cluster_bytes() - 1) / cluster_bytes();
    if (l1_table_ + l1_entries * 8 > clusters * cluster_bytes()) return false;
    std::uint64_t l2_tables = 0;
    for (std::uint64_t i = 0; i < l1_entries; ++i)
        l2_tables += (field(l1_table_ + i * 8, 8) & 0x00fffffffffffe00) != 0 ? 1 : 0;
    return l2_tables <= clusters;
}

// backing_file_offset and backing_file_size: inside the first cluster, at most 1023 bytes
bool ReferenceReader::parse_backing_file() {
    const std::uint64_t at = field(8, 8);
    const std::uint64_t length = field(16, 4);
    if (at == 0) return true;
    if (at > cluster_bytes() || length > 1023 || length > cluster_bytes() - at) return false;
    for (const std::uint8_t byte : read_bytes(file_, at, length)) {
        if (byte == 0) break;
        backing_file_ += static_cast<char>(byte);
    }
    return true;
}

// "Cluster mapping"
ReferenceUnit ReferenceReader::read(std::uint64_t guest) const {
    if (!is_readable_) return {};
    const std::uint64_t entry_bytes = extended_l2_ ? 16 : 8;
    const std::uint64_t l2_entries = cluster_bytes() / entry_bytes;
    const std::uint64_t l1_index = guest / cluster_bytes() / l2_entries;
    const std::uint64_t l2_index = guest / cluster_bytes() % l2_entries;
    // bits 9 to 55 of an L1 entry
    const std::uint64_t l2_table = field(l1_table_ + l1_index * 8, 8) & 0x00fffffffffffe00;
    if (l2_table == 0) return {ReferenceKind::unallocated, {}};
    if (l2_table % cluster_bytes() != 0) return {};
    const std::uint64_t at = l2_table + l2_index * entry_bytes;
    const std::uint64_t entry = field(at, 8);
    if ((entry >> 62 & 1) != 0) return compressed(entry, guest);
    return extended_l2_ ? extended(entry, field(at + 8, 8), guest) : standard(entry, guest);
}

// "Standard Cluster Descriptor"
ReferenceUnit ReferenceReader::standard(std::uint64_t entry, std::uint64_t guest) const {
    const std::uint64_t host = entry & 0x00fffffffffffe00;
    // "The offset may only be 0 with bit 63 set (indicating a host cluster offset of 0) when an external
    // data file is used."
    const bool has_host = host != 0 || (has_data_file_ && entry >> 63 != 0);
    const bool is_zero = (entry & 1) != 0;
    if (is_zero && version_ == 2) return {};
    if (host % cluster_bytes() != 0) return {};
    if (has_host && has_data_file_ && host != guest / cluster_bytes() * cluster_bytes()) return {};
    if (is_zero) return {ReferenceKind::zero, {}};
    return has_host ? stored(host) : ReferenceUnit{ReferenceKind::unallocated, {}};
}

// "Extended L2 Entries"
ReferenceUnit ReferenceReader::extended(std::uint64_t entry, std::uint64_t bitmap,
                                        std::uint64_t guest) const {
    const std::uint64_t host = entry & 0x00fffffffffffe00;
    const bool has_host = host != 0 || (has_data_file_ && entry >> 63 != 0);
    const std::uint64_t cluster = guest / cluster_bytes() * cluster_bytes();
    if (host % cluster_bytes() != 0) return {};
    if (has_host && has_data_file_ && host != cluster) return {};
    for (unsigned i = 0; i < 32; ++i) {
        const bool is_allocated = (bitmap >> i & 1) != 0;
        const bool is_zero = (bitmap >> (32 + i) & 1) != 0;
        if (is_allocated && (is_zero || !has_host)) return {};
    }
    const std::uint64_t index = (guest - cluster) / unit_bytes();
    if ((bitmap >> (32 + index) & 1) != 0) return {ReferenceKind::zero, {}};
    if ((bitmap >> index & 1) != 0) return stored(host + index * unit_bytes());
    return {ReferenceKind::unallocated, {}};
}

// "Compressed Clusters Descriptor"
ReferenceUnit ReferenceReader::compressed(std::uint64_t entry, std::uint64_t guest) const {
    if (has_data_file_) return {};
    const unsigned x = 62 - (cluster_bits_ - 8);
    const std::uint64_t host = entry % (1ull << x);
    if (host >= 1ull << 56) return {};
    const std::uint64_t more_sectors = entry % (1ull << 62) / (1ull << x);
    Bytes from = read_bytes(file_, host, 512 - host % 512 + more_sectors * 512);
    Bytes cluster(cluster_bytes());
    if (!(zstd_ ? unzstd_whole(from, cluster) : inflate_whole(from, cluster))) return {};
    const auto first = cluster.begin() + static_cast<std::ptrdiff_t>(guest % cluster_bytes());
    return {ReferenceKind::data, Bytes(first, first + static_cast<std::ptrdiff_t>(unit_bytes()))};
}

ReferenceUnit ReferenceReader::stored(std::uint64_t host) const {
    return {ReferenceKind::data, read_bytes(has_data_file_ ? data_file_ : file_, host, unit_bytes())};
}

}  // namespace qimg::fuzz
