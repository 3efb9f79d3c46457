// New images: checking what is asked for, the first clusters, preallocation.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/create.hpp"

#include <algorithm>
#include <bit>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

std::unexpected<Error> refuse(std::string message) {
    return fail(ErrorKind::invalid_argument, std::move(message));
}

Result<void> check_cluster_size(const Qcow2Layout& layout) {
    if (!std::has_single_bit(layout.cluster_bytes) || layout.cluster_bytes < 1u << cluster_bits_min ||
        layout.cluster_bytes > 1u << cluster_bits_max) {
        return refuse("Cluster size must be a power of two between 512 and 2048k");
    }
    return {};
}

Result<void> check_entry_widths(const Qcow2Layout& layout) {
    if (layout.extended_l2 && layout.cluster_bytes < 1u << cluster_bits_min_extended_l2) {
        return refuse("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
    }
    if (!std::has_single_bit(layout.refcount_bits) || layout.refcount_bits > 1u << refcount_order_max) {
        return refuse("Refcount width must be a power of two and may not exceed 64 bits");
    }
    return {};
}

Geometry geometry_of(const Qcow2Layout& layout) {
    return Geometry(static_cast<unsigned>(std::countr_zero(layout.cluster_bytes)),
                    static_cast<unsigned>(std::countr_zero(layout.refcount_bits)), layout.extended_l2,
                    layout.data_file.has_value());
}

Result<void> check_version_2(const Qcow2Layout& layout) {
    const auto needs_v3 = [](std::string_view what) {
        return refuse(fmt::format(
            "{} only supported with compatibility level 1.1 and above (use version=v3 or greater)", what));
    };
    if (layout.extended_l2) return needs_v3("Extended L2 entries are");
    if (layout.lazy_refcounts) return needs_v3("Lazy refcounts");
    if (layout.data_file) return needs_v3("External data files are");
    if (layout.compression_type != "zlib") return needs_v3("Non-zlib compression type is");
    if (layout.refcount_bits != 16) {
        return refuse(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 "
            "or greater)");
    }
    return {};
}

Result<void> check_references(const Qcow2Layout& layout, Preallocation preallocation) {
    if (layout.data_file_raw && !layout.data_file) return refuse("data-file-raw requires data-file");
    if (layout.data_file_raw && layout.backing_file) {
        return refuse("Backing file and data-file-raw cannot be used at the same time");
    }
    if (layout.backing_file && preallocation != Preallocation::off && !layout.extended_l2) {
        return refuse(
            "Backing file and preallocation can only be used at the same time if extended_l2 is on");
    }
    if (layout.backing_format && !layout.backing_file) {
        return refuse("Backing format cannot be used without backing file");
    }
    if (layout.backing_file && layout.backing_file->size() > backing_name_bytes_max) {
        return refuse("Backing file name too long");
    }
    return {};
}

Header new_header(const Qcow2Layout& layout, std::uint64_t size) {
    Header header;
    header.version = layout.version;
    header.geometry = geometry_of(layout);
    header.size = size;
    if (layout.extended_l2) header.incompatible |= disk::incompatible_extended_l2;
    if (layout.lazy_refcounts) header.compatible |= disk::compatible_lazy_refcounts;
    if (layout.compression_type == "zstd") {
        header.codec = Codec::zstd;
        header.incompatible |= disk::incompatible_compression;
    }
    header.is_encrypted = layout.is_encrypted;
    if (layout.data_file) {
        header.incompatible |= disk::incompatible_data_file;
        header.set_text_extension(disk::extension_data_file, *layout.data_file);
        if (layout.data_file_raw) header.autoclear |= disk::autoclear_data_file_raw;
    }
    header.backing_file = layout.backing_file;
    if (layout.backing_format)
        header.set_text_extension(disk::extension_backing_format, *layout.backing_format);
    return header;
}

// What new clusters read as before anybody writes to them. They may have been in use before, for other data.
// An external data file is left as it is: it may have been there first.
Result<void> fill_space(Qcow2& image, HostRange space, Preallocation preallocation) {
    Storage& storage = image.data_storage();
    if (preallocation == Preallocation::full) return write_plain_zeroes(storage, space);
    if (!image.header().has_data_file()) TRY(storage.write_zeroes(space));
    if (preallocation == Preallocation::falloc) return storage.allocate(space);
    if (!image.header().has_data_file()) return {};
    const std::uint64_t end = TRY(storage.size());
    return space.end().bytes > end ? storage.resize(space.end().bytes) : Result<void>();
}

// Writing to a new cluster, or to some of its subclusters, may have left out its end, where the file then ends.
Result<void> complete_last_cluster(Qcow2& image, Preallocation preallocation) {
    if (image.header().has_data_file()) return {};
    const std::uint64_t file_bytes = TRY(image.storage().size());
    const HostOffset end(file_bytes);
    const HostOffset cluster_end(round_up(end.bytes, image.cluster_bytes()));
    return end == cluster_end ? Result<void>()
                              : fill_space(image, HostRange::between(end, cluster_end), preallocation);
}

}  // namespace

Result<void> check_layout(const Qcow2Layout& layout, std::uint64_t size, Preallocation preallocation) {
    if (layout.version != 2 && layout.version != 3) return refuse("Invalid compatibility level");
    TRY(check_cluster_size(layout));
    if (layout.version < 3) TRY(check_version_2(layout));
    TRY(check_entry_widths(layout));
    if (layout.compression_type != "zlib" && layout.compression_type != "zstd") {
        return refuse(fmt::format("Unknown compression type '{}'", printable(layout.compression_type)));
    }
    TRY(check_references(layout, preallocation));
    if (layout.is_encrypted && (layout.data_file || preallocation != Preallocation::off)) {
        return fail(ErrorKind::unsupported,
                    "Encrypted images are not supported with a data file or preallocation");
    }
    const Geometry geometry = geometry_of(layout);
    if (size > 1ull << 62 || geometry.l1_entries_for(size) * table_entry_bytes > l1_table_bytes_max) {
        return fail(ErrorKind::no_space,
                    "The image size is too large for file format 'qcow2' (try using a larger cluster size)");
    }
    return {};
}

Result<Geometry> checked_geometry(const Qcow2Layout& layout) {
    TRY(check_cluster_size(layout));
    TRY(check_entry_widths(layout));
    if (layout.version < 3 && layout.refcount_bits != 16) {
        return refuse(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above (use compat=1.1 "
            "or greater)");
    }
    return geometry_of(layout);
}

Result<void> create_empty(Storage& storage, const Qcow2Layout& layout, std::uint64_t size) {
    Header header = new_header(layout, size);
    const Geometry& geometry = header.geometry;
    constexpr std::uint64_t table_cluster = 1;
    header.refcount_table = geometry.offset_of(table_cluster);
    header.refcount_table_clusters = 1;
    Refcounts refcounts(storage, header);
    refcounts.start_empty(header.refcount_table, header.refcount_table_clusters);
    TRY(refcounts.claim({0, table_cluster + header.refcount_table_clusters}));

    header.l1_entries = static_cast<std::uint32_t>(geometry.l1_entries_for(size));
    const std::uint64_t l1_bytes = header.l1_entries * table_entry_bytes;
    if (l1_bytes != 0) {
        const ClusterRun l1 = TRY(refcounts.allocate(geometry.clusters_for(l1_bytes)));
        header.l1_table = geometry.offset_of(l1.first);
    }
    header.refcount_table = refcounts.table_offset();
    header.refcount_table_clusters = static_cast<std::uint32_t>(refcounts.table_clusters());

    for (const ClusterRun& outgrown : refcounts.take_old_tables())
        TRY(refcounts.subtract(outgrown));

    const Bytes first_cluster = TRY(serialize_header(header));
    TRY(refcounts.write_blocks());
    TRY(refcounts.write_table());
    const std::uint64_t used_clusters = TRY(refcounts.end_of_used_clusters());
    // the last cluster may be cut short when it is the L1 table's
    const HostOffset l1_end = header.l1_table + l1_bytes;
    const bool ends_with_l1 = l1_bytes != 0 && geometry.clusters_for(l1_end.bytes) == used_clusters;
    TRY(storage.resize(ends_with_l1 ? l1_end.bytes : geometry.offset_of(used_clusters).bytes));
    return storage.write(HostOffset(0), first_cluster);
}

Result<void> preallocate(Qcow2& image, GuestRange range, Preallocation preallocation, Progress& progress) {
    TRY(image.prepare_changing());
    for (GuestOffset at = range.start; at < range.end();) {
        if (progress.cancelled()) return fail(ErrorKind::cancelled, "interrupted");
        const Mapping mapping = TRY(image.map(GuestRange::between(at, range.end())));
        if (mapping.kind == MappingKind::data) {
            at = mapping.range.end();
            continue;
        }
        const Reservation reservation = TRY(image.reserve(mapping.range));
        TRY(fill_space(image, HostRange(reservation.host, reservation.cover.length), preallocation));
        // a subcluster can stay what it is although its cluster has a place: whatever the backing file says
        TRY(image.geometry().extended_l2() ? image.publish_place(reservation) : image.publish(reservation));
        at = reservation.cover.end();
        progress.update(std::min(at.bytes, range.end().bytes) - range.start.bytes, range.length);
    }
    return complete_last_cluster(image, preallocation);
}

}  // namespace qimg::qcow2
