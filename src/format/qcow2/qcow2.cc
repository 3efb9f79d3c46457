// Opening a qcow2 image and finding guest data in it. Changing it is in write.cc and metadata.cc.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/qcow2.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/compression.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg::qcow2 {

namespace {

// A part of one cluster that lives in one place.
struct Piece {
    MappingKind kind;
    std::optional<HostOffset> host;
    bool in_place;
    std::uint64_t bytes;
    std::uint64_t compressed_bytes = 0;
};

MappingKind kind_of(SubclusterKind kind) {
    switch (kind) {
        case SubclusterKind::data:
            return MappingKind::data;
        case SubclusterKind::zeroes:
            return MappingKind::zeroes;
        case SubclusterKind::unallocated:
            break;
    }
    return MappingKind::unallocated;
}

// From `skip` bytes inside the cluster to the end of the run of subclusters of the same kind.
Piece subcluster_piece(const L2Entry& entry, const Geometry& geometry, std::uint64_t skip) {
    const std::uint64_t unit = geometry.subcluster_bytes();
    const auto first = static_cast<unsigned>(skip / unit);
    const SubclusterKind kind = entry.subcluster(first);
    unsigned last = first;
    while (last + 1 < subclusters_per_cluster && entry.subcluster(last + 1) == kind)
        ++last;
    std::optional<HostOffset> host;
    if (entry.has_host(geometry) && kind != SubclusterKind::unallocated) host = entry.host() + skip;
    return {kind_of(kind), host, kind == SubclusterKind::data && entry.is_copied(), (last + 1) * unit - skip};
}

Piece cluster_piece(const L2Entry& entry, const Geometry& geometry, std::uint64_t skip) {
    const std::uint64_t bytes = geometry.cluster_bytes() - skip;
    switch (entry.kind(geometry)) {
        case ClusterKind::compressed: {
            const CompressedPlace place = entry.compressed(geometry);
            return {MappingKind::compressed, place.host, false, bytes, place.bytes};
        }
        case ClusterKind::normal:
            if (geometry.extended_l2()) return subcluster_piece(entry, geometry, skip);
            return {MappingKind::data, entry.host() + skip, entry.is_copied(), bytes};
        case ClusterKind::zero_allocated:
            return {MappingKind::zeroes, entry.host() + skip, false, bytes};
        case ClusterKind::zero_plain:
            return {MappingKind::zeroes, std::nullopt, false, bytes};
        case ClusterKind::unallocated:
            break;
    }
    if (geometry.extended_l2()) return subcluster_piece(entry, geometry, skip);
    return {MappingKind::unallocated, std::nullopt, false, bytes};
}

// Does `piece` go on where `mapping` ends, in the same way?
bool continues(const Mapping& mapping, const Piece& piece) {
    if (piece.kind != mapping.kind || piece.kind == MappingKind::compressed ||
        piece.in_place != mapping.in_place) {
        return false;
    }
    if (piece.host.has_value() != mapping.host.has_value()) return false;
    return !piece.host || *piece.host == *mapping.host + mapping.range.length;
}

// A table that the file does not have would cost memory, with a chain of such images any amount.
Result<void> check_l1_place(const Storage& file, const Header& header, std::uint64_t file_bytes) {
    const std::uint64_t bytes = header.l1_entries * table_entry_bytes;
    if (fits_within(header.l1_table.bytes, bytes, round_up(file_bytes, header.geometry.cluster_bytes())))
        return {};
    return failf(ErrorKind::corrupt,
                 "{}: the active L1 table, {} bytes at {:#x}, goes past the end of the file",
                 printable(file.name()), bytes, header.l1_table.bytes);
}

// Each L2 table takes a cluster of the file. More of them would be the same ones again and again, and work
// without end.
Result<void> check_l1_work(const Storage& file, const Geometry& geometry, std::span<const std::uint64_t> l1,
                           std::uint64_t file_bytes) {
    const auto tables = static_cast<std::uint64_t>(
        std::ranges::count_if(l1, [](std::uint64_t entry) { return (entry & disk::offset_mask) != 0; }));
    if (tables <= geometry.clusters_for(file_bytes)) return {};
    return failf(ErrorKind::corrupt, "{}: {} L2 tables in a file of {} clusters; run check",
                 printable(file.name()), tables, geometry.clusters_for(file_bytes));
}

}  // namespace

Qcow2::Qcow2(std::unique_ptr<Storage> storage, Header header, const Qcow2Options& options)
    : storage_(std::move(storage)),
      header_(std::move(header)),
      committed_(header_),
      options_(options),
      l2_cache_(*storage_, header_.geometry),
      refcounts_(*storage_, header_) {}

Result<std::unique_ptr<Qcow2>> Qcow2::open(std::unique_ptr<Storage> storage, const Qcow2Options& options) {
    Header header = TRY(read_header(*storage));
    if (options.writable && header.is(disk::incompatible_corrupt)) {
        return fail(ErrorKind::read_only, "qcow2: Image is corrupt; cannot be opened read/write");
    }
    if (header.is_encrypted && options.with_guest_data) {
        return fail(ErrorKind::unsupported,
                    "Encrypted images are not supported: only info can be had of them");
    }
    if (!options.for_check) TRY(read_snapshots(*storage, header));
    const std::optional<std::string> data_file_name = header.text_extension(disk::extension_data_file);
    auto image = std::make_unique<Qcow2>(std::move(storage), std::move(header), options);
    if (image->header_.has_data_file() && options.with_guest_data) {
        if (options.open_data_file) image->data_file_ = TRY(options.open_data_file(data_file_name));
        if (!image->data_file_) return fail(ErrorKind::corrupt, "'data-file' is required for this image");
    }
    // QEMU refuses images whose bitmaps it does not understand, and so must the programs that change them
    TRY(read_bitmaps(*image->storage_, image->header_));
    return image;
}

Result<void> Qcow2::describe(ImageInfo& info) const {
    info.cluster_bytes = cluster_bytes();
    info.dirty = header_.is(disk::incompatible_dirty);
    std::vector<Snapshot> snapshots = TRY(read_snapshots(*storage_, header_));
    for (Snapshot& snapshot : snapshots) {
        info.snapshots.push_back(std::move(snapshot.info));
    }
    Qcow2Info details;
    details.version = header_.version;
    details.has_data_file = header_.has_data_file();
    details.data_file = header_.text_extension(disk::extension_data_file);
    details.data_file_raw = header_.data_file_raw();
    details.extended_l2 = geometry().extended_l2();
    details.lazy_refcounts = (header_.compatible & disk::compatible_lazy_refcounts) != 0;
    details.corrupt = header_.is(disk::incompatible_corrupt);
    details.refcount_bits = geometry().refcount_bits();
    details.is_encrypted = header_.is_encrypted;
    details.compression_type = header_.codec == Codec::zstd ? "zstd" : "zlib";
    BitmapDirectory directory = TRY(read_bitmaps(*storage_, header_));
    for (Bitmap& bitmap : directory.bitmaps) {
        details.bitmaps.push_back(std::move(bitmap.info));
    }
    info.qcow2 = std::move(details);
    return {};
}

Result<std::span<const std::uint64_t>> Qcow2::l1() const {
    const std::lock_guard lock(l1_mutex_);
    if (l1_loaded_) return std::span<const std::uint64_t>(l1_);
    if (l1_fault_) return std::unexpected<Error>(*l1_fault_);
    auto table = load_l1();
    // who goes on all the same, to salvage the rest, is not to read and refuse it again for every sector
    if (!table && table.error().kind == ErrorKind::corrupt) l1_fault_ = table.error();
    l1_ = TRY(std::move(table));
    l1_loaded_ = true;
    return std::span<const std::uint64_t>(l1_);
}

Result<std::vector<std::uint64_t>> Qcow2::load_l1() const {
    const std::uint64_t file_bytes = TRY(storage_->size());
    TRY(check_l1_place(*storage_, header_, file_bytes));
    std::vector<std::uint64_t> table =
        TRY(read_l1_table(*storage_, geometry(), header_.l1_table, header_.l1_entries));
    TRY(check_l1_work(*storage_, geometry(), table, file_bytes));
    return table;
}

Result<void> Qcow2::check_l2_offset(std::uint64_t l1_index, std::uint64_t entry) const {
    const std::uint64_t at = entry & disk::offset_mask;
    if (geometry().is_cluster_aligned(at)) return {};
    return failf(ErrorKind::corrupt, "{}: L2 table offset {:#x} unaligned (L1 index: {:#x}); run check",
                 printable(storage_->name()), at, l1_index);
}

Result<Mapping> Qcow2::map(GuestRange range) const {
    const auto table = TRY(l1());
    range = intersection(range, GuestRange(GuestOffset(0), header_.size));
    std::uint64_t index = geometry().l1_index(range.start);
    const auto table_end = [&] { return GuestOffset((index + 1) * geometry().l2_reach_bytes()); };
    if ((table[index] & disk::offset_mask) != 0) {
        TRY(check_l2_offset(index, table[index]));
        const HostOffset at(table[index] & disk::offset_mask);
        const auto l2 = TRY(l2_cache_.read(at));
        return map_table(*l2, GuestRange::between(range.start, std::min(range.end(), table_end())), at);
    }
    while (table_end() < range.end() && (table[index + 1] & disk::offset_mask) == 0)
        ++index;
    return Mapping{GuestRange::between(range.start, std::min(range.end(), table_end())),
                   MappingKind::unallocated, std::nullopt, false, 0};
}

// qcow2 "Cluster mapping": what an entry of this image may not say.
static Result<void> check_entry(const L2Entry& entry, const Header& header, GuestOffset cluster,
                                HostOffset table_at, std::uint64_t index) {
    const Geometry& geometry = header.geometry;
    const auto broken = [&](std::string_view what) {
        return failf(ErrorKind::corrupt, "{} (L2 offset: {:#x}, L2 index: {:#x}); run check", what,
                     table_at.bytes, index);
    };
    if (entry.is_compressed()) {
        if (header.has_data_file())
            return broken("Compressed cluster entry found in image with external data file");
        if (entry.compressed(geometry).host.bytes >= host_offset_end) {
            return broken("Compressed cluster entry with an offset past 64 PiB");
        }
        return {};
    }
    if (!geometry.is_cluster_aligned(entry.host().bytes)) {
        return broken(fmt::format("Cluster allocation offset {:#x} unaligned", entry.host().bytes));
    }
    if (geometry.extended_l2() ? !entry.is_bitmap_valid(geometry)
                               : header.version < 3 && (entry.word & disk::flag_zero) != 0) {
        return broken(geometry.extended_l2() ? "Invalid subcluster bitmap"
                                             : "Zero cluster entry found in pre-v3 image");
    }
    if (header.has_data_file() && entry.has_host(geometry) && entry.host().bytes != cluster.bytes) {
        return broken(fmt::format(
            "External data file host cluster offset {:#x} does not match guest cluster offset {:#x}",
            entry.host().bytes, cluster.bytes));
    }
    return {};
}

Result<Mapping> Qcow2::map_table(const L2Table& table, GuestRange range, HostOffset table_at) const {
    Mapping mapping;
    mapping.range = GuestRange(range.start, 0);
    for (GuestOffset at = range.start; at < range.end(); at = mapping.range.end()) {
        const std::uint64_t index = geometry().l2_index(at);
        const L2Entry entry = table.get(index);
        const GuestOffset cluster(round_down(at.bytes, cluster_bytes()));
        if (const auto checked = check_entry(entry, header_, cluster, table_at, index); !checked) {
            if (mapping.range.empty()) return std::unexpected<Error>(checked.error());
            break;  // what comes before the broken entry can be read
        }
        const Piece piece = cluster_piece(entry, geometry(), at - cluster);
        if (mapping.range.empty()) {
            mapping.kind = piece.kind;
            mapping.host = piece.host;
            mapping.in_place = piece.in_place;
            mapping.compressed_bytes = piece.compressed_bytes;
        } else if (!continues(mapping, piece)) {
            break;
        }
        const std::uint64_t end = index + divide_up(range.end() - cluster, cluster_bytes());
        mapping.range.length +=
            piece.bytes + table.count_continuing(geometry(), index, end) * cluster_bytes();
    }
    mapping.range = intersection(mapping.range, range);
    // nothing is asked of an image that is only read
    if (mapping.in_place && prepared_)
        mapping.in_place = may_write_in_place(HostRange(*mapping.host, mapping.range.length));
    return mapping;
}

Result<void> Qcow2::read_compressed(const Mapping& mapping, std::uint64_t skip,
                                    std::span<std::byte> into) const {
    Bytes data(mapping.compressed_bytes);
    TRY(storage_->read(*mapping.host, data));
    const std::uint64_t into_cluster = mapping.range.start.bytes % cluster_bytes() + skip;
    const bool whole = into_cluster == 0 && into.size() == cluster_bytes();
    Bytes cluster(whole ? 0 : cluster_bytes());
    const auto decompressed = decompress(header_.codec, data, whole ? into : std::span<std::byte>(cluster));
    if (!decompressed) {
        return failf(decompressed.error().kind, "{}: compressed cluster at {:#x}: {}",
                     printable(storage_->name()), mapping.host->bytes, decompressed.error().message);
    }
    if (!whole)
        std::copy_n(cluster.begin() + static_cast<std::ptrdiff_t>(into_cluster), into.size(), into.begin());
    return {};
}

}  // namespace qimg::qcow2
