// Parsing, checking and building of the qcow2 header cluster.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

std::unexpected<Error> corrupt(std::string message, std::string detail) {
    return fail_detailed(ErrorKind::corrupt, std::move(message), std::move(detail));
}

struct KnownFeature {
    std::uint8_t type;
    std::uint8_t bit;
    std::string_view name;
};
constexpr std::array known_features{
    KnownFeature{0, 0, "dirty bit"},
    KnownFeature{0, 1, "corrupt bit"},
    KnownFeature{0, 2, "external data file"},
    KnownFeature{0, 3, "compression type"},
    KnownFeature{0, 4, "extended L2 entries"},
    KnownFeature{1, 0, "lazy refcounts"},
    KnownFeature{2, 0, "bitmaps"},
    KnownFeature{2, 1, "raw external data"},
};

// The names of unknown incompatible features, from the image's own table where it has them.
std::string name_unknown_features(std::uint64_t unknown, const Extension* table) {
    std::string names;
    const auto add = [&](std::string_view name) { names += (names.empty() ? "" : ", ") + printable(name); };
    if (table != nullptr) {
        Bytes entries = table->data;
        // the zeroes behind the last name may be left out
        entries.resize(divide_up(entries.size(), sizeof(disk::FeatureName)) * sizeof(disk::FeatureName));
        for (std::size_t at = 0; at < entries.size(); at += sizeof(disk::FeatureName)) {
            const auto entry = load<disk::FeatureName>(std::span(entries).subspan(at));
            if (entry.type != 0 || entry.bit > 63 || (unknown >> entry.bit & 1) == 0) continue;
            add(std::string_view(entry.name.data(), ::strnlen(entry.name.data(), entry.name.size())));
            unknown &= ~(1ull << entry.bit);
        }
    }
    if (unknown != 0) add(fmt::format("Unknown incompatible feature: {:x}", unknown));
    return names;
}

// Everything that decides how long the header is and how the rest must be read.
Result<void> parse_geometry(const disk::Header& raw, Header& header) {
    header.version = raw.version;
    if (header.version != 2 && header.version != 3) {
        return failf(ErrorKind::unsupported, "Unsupported qcow2 version {}", header.version);
    }
    const std::uint32_t bits = raw.cluster_bits;
    if (bits < cluster_bits_min || bits > cluster_bits_max) {
        return failf(ErrorKind::corrupt, "Unsupported cluster size: 2^{}", bits);
    }
    std::uint32_t order = 4;
    if (header.version >= 3) {
        if (raw.header_length < disk::header_bytes_v3_min) {
            return corrupt("qcow2 header too short", fmt::format("header_length {}", +raw.header_length));
        }
        if (raw.header_length > 1ull << bits) {
            return corrupt("qcow2 header exceeds cluster size",
                           fmt::format("header_length {}", +raw.header_length));
        }
        if (raw.header_length % 8 != 0) {
            return corrupt("qcow2 header length is not a multiple of 8",
                           fmt::format("header_length {}", +raw.header_length));
        }
        order = raw.refcount_order;
        if (order > refcount_order_max) {
            return corrupt("Reference count entry width too large; may not exceed 64 bits",
                           fmt::format("refcount_order {}", order));
        }
        header.incompatible = raw.incompatible_features;
        header.compatible = raw.compatible_features;
        header.autoclear = raw.autoclear_features;
    }
    header.geometry =
        Geometry(bits, order, header.is(disk::incompatible_extended_l2), header.has_data_file());
    return {};
}

// qcow2 "Header extensions". `area` runs from the end of the fixed header to the end of the first cluster.
Result<void> parse_extensions(std::span<const std::byte> area, std::uint64_t area_at, Header& header) {
    std::uint64_t at = 0;
    while (area.size() - at >= sizeof(disk::ExtensionHeader)) {
        const auto extension = load<disk::ExtensionHeader>(area.subspan(at));
        if (extension.type == disk::extension_end) return {};
        at += sizeof(disk::ExtensionHeader);
        if (extension.length > area.size() - at) {
            return corrupt("Header extension too large",
                           fmt::format("type {:#x} at {:#x}, {} bytes", +extension.type,
                                       area_at + at - sizeof(disk::ExtensionHeader), +extension.length));
        }
        const auto data = area.subspan(at, extension.length);
        header.extensions.push_back(Extension{extension.type, Bytes(data.begin(), data.end())});
        at = std::min<std::uint64_t>(round_up(at + extension.length, 8), area.size());
    }
    return {};
}

Result<void> check_features(const Header& header) {
    const std::uint64_t unknown = header.incompatible & ~disk::incompatible_known;
    if (unknown == 0) return {};
    return failf(ErrorKind::unsupported, "Unsupported qcow2 feature(s): {}",
                 name_unknown_features(unknown, header.find(disk::extension_feature_names)));
}

Result<void> parse_codec(const disk::Header& raw, Header& header) {
    const bool has_field = header.version >= 3 && raw.header_length > disk::header_bytes_v3_min;
    const unsigned type = has_field ? raw.compression_type : 0;
    if (header.is(disk::incompatible_compression) != (type != 0)) {
        return fail(ErrorKind::corrupt, type == 0
                                            ? "Compression type incompatible feature bit must not be set"
                                            : "Compression type incompatible feature bit must be set");
    }
    if (type > 1) return failf(ErrorKind::unsupported, "Unknown compression type: {}", type);
    header.codec = type == 1 ? Codec::zstd : Codec::zlib;
    if (header.geometry.extended_l2() && header.geometry.cluster_bits() < cluster_bits_min_extended_l2) {
        return corrupt("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes",
                       fmt::format("cluster_bits {}", header.geometry.cluster_bits()));
    }
    if ((header.autoclear & disk::autoclear_data_file_raw) != 0 && !header.has_data_file()) {
        // meaningless without a data file; like every autoclear bit it may be dropped
        header.autoclear &= ~disk::autoclear_data_file_raw;
    }
    return {};
}

Result<void> parse_encryption(const disk::Header& raw, Header& header) {
    header.is_encrypted = raw.crypt_method == disk::crypt_method_aes;
    if (raw.crypt_method == 0 || header.is_encrypted) return {};
    return failf(ErrorKind::unsupported, "Unsupported encryption method {}", +raw.crypt_method);
}

Result<void> parse_tables(const disk::Header& raw, Header& header) {
    const Geometry& geometry = header.geometry;
    const auto aligned = [&](std::uint64_t at) {
        return geometry.is_cluster_aligned(at) && at < host_offset_end;
    };

    header.refcount_table = HostOffset(raw.refcount_table_offset);
    header.refcount_table_clusters = raw.refcount_table_clusters;
    if (header.refcount_table_clusters > refcount_table_bytes_max >> geometry.cluster_bits()) {
        return corrupt("Reference count table too large",
                       fmt::format("refcount_table_clusters {}", header.refcount_table_clusters));
    }
    if (!aligned(raw.refcount_table_offset)) {
        return corrupt("Reference count table offset invalid",
                       fmt::format("refcount_table_offset {:#x}", +raw.refcount_table_offset));
    }
    header.snapshot_count = raw.nb_snapshots;
    header.snapshot_table = HostOffset(raw.snapshots_offset);
    if (header.snapshot_count != 0 && (!aligned(raw.snapshots_offset) || raw.snapshots_offset == 0)) {
        return corrupt("Snapshot table offset invalid",
                       fmt::format("snapshots_offset {:#x}", +raw.snapshots_offset));
    }
    header.l1_entries = raw.l1_size;
    header.l1_table = HostOffset(raw.l1_table_offset);
    if (header.l1_entries > l1_table_bytes_max / table_entry_bytes) {
        return corrupt("Active L1 table too large", fmt::format("l1_size {}", header.l1_entries));
    }
    if (!aligned(raw.l1_table_offset)) {
        return corrupt("Active L1 table offset invalid",
                       fmt::format("l1_table_offset {:#x}", +raw.l1_table_offset));
    }
    header.size = raw.size;
    if (header.size > 1ull << 62 ||
        geometry.l1_entries_for(header.size) > l1_table_bytes_max / table_entry_bytes) {
        return corrupt("Image is too big", fmt::format("size {}", header.size));
    }
    if (header.l1_entries < geometry.l1_entries_for(header.size)) {
        return corrupt("L1 table is too small",
                       fmt::format("l1_size {} for {} bytes", header.l1_entries, header.size));
    }
    return {};
}

// A service to programs that do not know the features; left out where a 512-byte cluster has no room for it.
Bytes feature_name_table() {
    Bytes table;
    for (const KnownFeature& feature : known_features) {
        disk::FeatureName entry{feature.type, feature.bit, {}};
        std::copy(feature.name.begin(), feature.name.end(), entry.name.begin());
        const auto bytes = std::as_bytes(std::span(&entry, 1));
        table.insert(table.end(), bytes.begin(), bytes.end());
    }
    return table;
}

// What follows the feature name table's data: its own head is counted here, too, and the end marker.
std::uint64_t trailing_extension_bytes(const Header& header) {
    std::uint64_t bytes = 2 * sizeof(disk::ExtensionHeader);
    for (const Extension& extension : header.extensions) {
        const bool counted = extension.type != disk::extension_backing_format &&
                             extension.type != disk::extension_data_file &&
                             extension.type != disk::extension_feature_names;
        if (counted) bytes += sizeof(disk::ExtensionHeader) + round_up(extension.data.size(), 8);
    }
    return bytes;
}

Result<void> parse_backing_file(const disk::Header& raw, const Storage& storage, Header& header) {
    if (raw.backing_file_offset == 0) return {};
    const std::uint64_t length = raw.backing_file_size;
    const std::uint64_t limit = std::min(backing_name_bytes_max, header.geometry.cluster_bytes());
    if (raw.backing_file_offset > header.geometry.cluster_bytes()) {
        return corrupt("Invalid backing file offset",
                       fmt::format("backing_file_offset {:#x}", +raw.backing_file_offset));
    }
    if (length > limit || length > header.geometry.cluster_bytes() - raw.backing_file_offset) {
        return corrupt("Backing file name too long", fmt::format("backing_file_size {}", length));
    }
    std::string name(length, '\0');
    TRY(storage.read(HostOffset(raw.backing_file_offset), std::as_writable_bytes(std::span(name))));
    if (name.find('\0') != std::string::npos) name.resize(name.find('\0'));
    if (!name.empty()) header.backing_file = std::move(name);
    return {};
}

}  // namespace

const Extension* Header::find(std::uint32_t type) const {
    const auto found = std::find_if(extensions.begin(), extensions.end(),
                                    [&](const Extension& extension) { return extension.type == type; });
    return found == extensions.end() ? nullptr : &*found;
}

std::optional<std::string> Header::text_extension(std::uint32_t type) const {
    // of two, the one that comes later counts
    const auto found = std::find_if(extensions.rbegin(), extensions.rend(),
                                    [&](const Extension& extension) { return extension.type == type; });
    if (found == extensions.rend()) return std::nullopt;
    return std::string(text_of(found->data));
}

void Header::set_extension(std::uint32_t type, std::span<const std::byte> data) {
    std::erase_if(extensions, [&](const Extension& extension) { return extension.type == type; });
    if (data.empty()) return;
    extensions.insert(extensions.begin(), Extension{type, Bytes(data.begin(), data.end())});
}

void Header::set_text_extension(std::uint32_t type, std::string_view text) {
    set_extension(type, bytes_of(text));
}

bool has_magic(std::span<const std::byte> first_bytes) {
    return first_bytes.size() >= sizeof(be32) && load<be32>(first_bytes) == disk::magic;
}

Result<ExaminedHeader> examine_header(const Storage& storage) {
    ExaminedHeader examined;
    Header& header = examined.header;
    const auto take = [&](HeaderPart part, const Result<void>& parsed) {
        if (!parsed) examined.faults.push_back({part, parsed.error()});
        return parsed.has_value();
    };
    std::array<std::byte, sizeof(disk::Header)> start;
    TRY(storage.read(HostOffset(0), start));
    if (!has_magic(start)) {
        examined.faults.push_back(
            {HeaderPart::start, fail(ErrorKind::corrupt, "Image is not in qcow2 format").error()});
        return examined;
    }
    const auto raw = load<disk::Header>(start);
    // nothing else can be found without these
    if (!take(HeaderPart::start, parse_geometry(raw, header))) return examined;
    const std::uint32_t length = header.version == 2 ? disk::header_bytes_v2 : +raw.header_length;
    Bytes cluster(header.geometry.cluster_bytes());
    TRY(storage.read(HostOffset(0), cluster));
    header.header_bytes = length;
    header.backing_file_at = HostOffset(raw.backing_file_offset);
    if (length > sizeof(disk::Header)) {
        header.unknown_fields.assign(cluster.begin() + sizeof(disk::Header), cluster.begin() + length);
    }
    // extensions end where the backing file name begins
    std::uint64_t extensions_end = cluster.size();
    if (raw.backing_file_offset >= length && raw.backing_file_offset < extensions_end) {
        extensions_end = raw.backing_file_offset;
    }
    const auto extensions = std::span(cluster).subspan(length, extensions_end - length);
    take(HeaderPart::extensions, parse_extensions(extensions, length, header));
    take(HeaderPart::features, check_features(header));
    take(HeaderPart::codec, parse_codec(raw, header));
    take(HeaderPart::encryption, parse_encryption(raw, header));
    take(HeaderPart::tables, parse_tables(raw, header));
    take(HeaderPart::backing_name, parse_backing_file(raw, storage, header));
    return examined;
}

Result<Header> read_header(const Storage& storage) {
    ExaminedHeader examined = TRY(examine_header(storage));
    if (!examined.faults.empty()) return std::unexpected<Error>(std::move(examined.faults.front().error));
    return std::move(examined.header);
}

Bytes serialize_fields(const Header& header) {
    disk::Header raw{};
    raw.magic = disk::magic;
    raw.version = header.version;
    raw.backing_file_offset = header.backing_file_at.bytes;
    raw.backing_file_size = static_cast<std::uint32_t>(header.backing_file ? header.backing_file->size() : 0);
    raw.cluster_bits = header.geometry.cluster_bits();
    raw.size = header.size;
    raw.crypt_method = header.is_encrypted ? disk::crypt_method_aes : 0;
    raw.l1_size = header.l1_entries;
    raw.l1_table_offset = header.l1_table.bytes;
    raw.refcount_table_offset = header.refcount_table.bytes;
    raw.refcount_table_clusters = header.refcount_table_clusters;
    raw.nb_snapshots = header.snapshot_count;
    raw.snapshots_offset = header.snapshot_table.bytes;
    raw.incompatible_features = header.incompatible;
    raw.compatible_features = header.compatible;
    raw.autoclear_features = header.autoclear;
    raw.refcount_order = header.geometry.refcount_order();
    raw.header_length = header.header_bytes;
    raw.compression_type = header.codec == Codec::zstd ? 1 : 0;
    const auto bytes = std::as_bytes(std::span(&raw, 1));
    const std::size_t known = std::min<std::size_t>(header.header_bytes, sizeof(raw));
    return Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(known));
}

Result<Bytes> serialize_header(Header& header, FeatureNames feature_names) {
    const bool v3 = header.version >= 3;
    header.header_bytes = v3 ? static_cast<std::uint32_t>(sizeof(disk::Header) + header.unknown_fields.size())
                             : disk::header_bytes_v2;
    Bytes out(v3 ? sizeof(disk::Header) : disk::header_bytes_v2);
    // not insert(): g++ 12 at -O3 believes that it could write past the vector's end
    const auto append = [&](std::span<const std::byte> bytes) {
        const auto at = static_cast<std::ptrdiff_t>(out.size());
        out.resize(out.size() + bytes.size());
        std::copy(bytes.begin(), bytes.end(), out.begin() + at);
    };
    const auto append_extension = [&](std::uint32_t type, std::span<const std::byte> data) {
        const disk::ExtensionHeader head{type, static_cast<std::uint32_t>(data.size())};
        append(std::as_bytes(std::span(&head, 1)));
        append(data);
        out.resize(round_up(out.size(), 8));
    };
    if (v3) append(header.unknown_fields);
    const std::uint64_t backing_bytes = header.backing_file ? header.backing_file->size() : 0;
    const auto append_extensions = [&](bool leading) {
        for (const Extension& extension : header.extensions) {
            const bool leads = extension.type == disk::extension_backing_format ||
                               extension.type == disk::extension_data_file;
            if (extension.type != disk::extension_feature_names && leads == leading) {
                append_extension(extension.type, extension.data);
            }
        }
    };
    append_extensions(true);
    // always our own table: one kept from elsewhere could name features that are known by now
    const bool with_names = v3 && feature_names == FeatureNames::where_they_fit;
    const Bytes names = with_names ? feature_name_table() : Bytes();
    const std::uint64_t needed = out.size() + names.size() + trailing_extension_bytes(header) + backing_bytes;
    if (with_names && needed <= header.geometry.cluster_bytes())
        append_extension(disk::extension_feature_names, names);
    append_extensions(false);
    append_extension(disk::extension_end, {});
    header.backing_file_at = HostOffset(header.backing_file ? out.size() : 0);
    if (header.backing_file) append(bytes_of(*header.backing_file));
    const Bytes fields = serialize_fields(header);
    std::copy(fields.begin(), fields.end(), out.begin());
    if (out.size() > header.geometry.cluster_bytes()) {
        return failf(ErrorKind::no_space,
                     "Header with backing file name and extensions does not fit the {}-byte cluster",
                     header.geometry.cluster_bytes());
    }
    return out;
}

}  // namespace qimg::qcow2
