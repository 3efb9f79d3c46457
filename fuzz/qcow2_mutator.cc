// Every place that an image's tables lead to, and what may be put there.
// SPDX-License-Identifier: Apache-2.0
#include "qcow2_mutator.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "base/digest.hpp"
#include "base/endian.hpp"
#include "format/compression.hpp"
#include "format/qcow2/l2_entry.hpp"
#include "tail.hpp"

namespace qimg::fuzz {

namespace disk = qcow2::disk;

namespace {

struct HeaderField {
    std::size_t at;
    unsigned bytes;
};
constexpr std::array header_fields = {
    HeaderField{offsetof(disk::Header, version), 4},
    HeaderField{offsetof(disk::Header, backing_file_offset), 8},
    HeaderField{offsetof(disk::Header, backing_file_size), 4},
    HeaderField{offsetof(disk::Header, cluster_bits), 4},
    HeaderField{offsetof(disk::Header, size), 8},
    HeaderField{offsetof(disk::Header, crypt_method), 4},
    HeaderField{offsetof(disk::Header, l1_size), 4},
    HeaderField{offsetof(disk::Header, l1_table_offset), 8},
    HeaderField{offsetof(disk::Header, refcount_table_offset), 8},
    HeaderField{offsetof(disk::Header, refcount_table_clusters), 4},
    HeaderField{offsetof(disk::Header, nb_snapshots), 4},
    HeaderField{offsetof(disk::Header, snapshots_offset), 8},
    HeaderField{offsetof(disk::Header, incompatible_features), 8},
    HeaderField{offsetof(disk::Header, compatible_features), 8},
    HeaderField{offsetof(disk::Header, autoclear_features), 8},
    HeaderField{offsetof(disk::Header, refcount_order), 4},
    HeaderField{offsetof(disk::Header, header_length), 4},
    HeaderField{offsetof(disk::Header, compression_type), 1},
};

constexpr std::array extension_types = {disk::extension_end,           disk::extension_backing_format,
                                        disk::extension_feature_names, disk::extension_bitmaps,
                                        disk::extension_luks,          disk::extension_data_file,
                                        std::uint32_t{0x12345678}};

}  // namespace

Qcow2Mutator::Qcow2Mutator(std::span<const std::uint8_t> image, std::size_t bytes_max, unsigned seed)
    : bytes_max_(bytes_max), random_(seed) {
    const auto bytes = std::as_bytes(image);
    image_.assign(bytes.begin(), bytes.end());
    random_.discard(2);  // seeds that follow each other begin alike
    read_header();
}

// Numbers outside the file read as zero and are not written.
template <class T>
T Qcow2Mutator::get(std::uint64_t at) const {
    if (at > image_.size() || image_.size() - at < sizeof(T)) return T{};
    return load<T>(std::span(image_).subspan(at));
}

template <class T>
void Qcow2Mutator::put(std::uint64_t at, T value) {
    if (at > image_.size() || image_.size() - at < sizeof(T)) return;
    store(std::span(image_).subspan(at), value);
}

void Qcow2Mutator::read_header() {
    if (image_.size() < sizeof(disk::Header)) image_.resize(sizeof(disk::Header));
    header_ = get<disk::Header>(0);
    if (header_.version == 2) {
        header_.incompatible_features = 0;
        header_.autoclear_features = 0;
        header_.refcount_order = 4;
        header_.header_length = disk::header_bytes_v2;
    }
    const bool extended = (header_.incompatible_features & disk::incompatible_extended_l2) != 0;
    geometry_ = qcow2::Geometry(
        std::clamp<unsigned>(header_.cluster_bits, qcow2::cluster_bits_min, qcow2::cluster_bits_max),
        std::min<unsigned>(header_.refcount_order, qcow2::refcount_order_max), extended);
}

// Mostly one of the file's own clusters, sometimes one behind its end.
std::uint64_t Qcow2Mutator::some_cluster() {
    const std::uint64_t clusters = geometry_.clusters_for(image_.size());
    return geometry_.offset_of(below(clusters + 2)).bytes;
}

std::uint64_t Qcow2Mutator::odd_value(std::uint64_t old) {
    switch (below(9)) {
        case 0:
            return 0;
        case 1:
            return 1;
        case 2:
            return ~0ull >> below(64);
        case 3:
            return old + 1;
        case 4:
            return old - 1;
        case 5:
            return old ^ 1ull << below(64);
        case 6:
            return some_cluster();
        case 7:
            return 1ull << below(64);
        default:
            return below(1000);
    }
}

// An entry that is not zero if a few tries find one.
Qcow2Mutator::Place Qcow2Mutator::some_entry(std::uint64_t table, std::uint64_t entries,
                                             std::uint64_t entry_bytes) {
    if (table >= image_.size() || entries == 0) return {};
    const std::uint64_t there = std::min(entries, (image_.size() - table) / entry_bytes);
    if (there == 0) return {};
    std::uint64_t at = table + below(there) * entry_bytes;
    for (unsigned tries = 0; tries < 16 && get<be64>(at) == 0; ++tries)
        at = table + below(there) * entry_bytes;
    return {at, true};
}

Qcow2Mutator::Place Qcow2Mutator::some_l2_entry() {
    std::uint64_t table = header_.l1_table_offset;
    std::uint64_t entries = header_.l1_size;
    if (header_.nb_snapshots != 0 && one_in(4)) {
        const auto snapshot = get<disk::SnapshotEntry>(header_.snapshots_offset);
        table = snapshot.l1_table_offset;
        entries = snapshot.l1_size;
    }
    const Place l1 = some_entry(table, entries, qcow2::table_entry_bytes);
    if (!l1.is_there) return {};
    return some_entry(get<be64>(l1.at) & disk::offset_mask, geometry_.l2_entries(),
                      geometry_.l2_entry_bytes());
}

Qcow2Mutator::Place Qcow2Mutator::bitmaps_extension() {
    std::uint64_t at = header_.header_length;
    while (at + sizeof(disk::ExtensionHeader) < std::min<std::uint64_t>(image_.size(), 4096)) {
        const auto extension = get<disk::ExtensionHeader>(at);
        if (extension.type == disk::extension_end) break;
        at += sizeof(disk::ExtensionHeader);
        if (extension.type == disk::extension_bitmaps) return {at, true};
        at += round_up(extension.length, 8);
    }
    return {};
}

void Qcow2Mutator::change_header_field() {
    const HeaderField& field = header_fields[below(header_fields.size())];
    switch (field.bytes) {
        case 8:
            return put<be64>(field.at, odd_value(get<be64>(field.at)));
        case 4:
            return put<be32>(field.at, static_cast<std::uint32_t>(odd_value(get<be32>(field.at))));
        default:
            return put<std::uint8_t>(field.at,
                                     static_cast<std::uint8_t>(odd_value(get<std::uint8_t>(field.at))));
    }
}

void Qcow2Mutator::change_features() {
    constexpr std::size_t incompatible = offsetof(disk::Header, incompatible_features);
    switch (below(4)) {
        case 0:  // with what belongs to it
            put<be64>(incompatible, get<be64>(incompatible) ^ disk::incompatible_compression);
            return put<std::uint8_t>(offsetof(disk::Header, compression_type),
                                     get<std::uint8_t>(offsetof(disk::Header, compression_type)) ^ 1);
        case 1:
            return put<be64>(incompatible, get<be64>(incompatible) ^ 1ull << below(6));
        case 2:
            return put<be64>(offsetof(disk::Header, compatible_features), below(4));
        default:
            return put<be64>(offsetof(disk::Header, autoclear_features), below(8));
    }
}

void Qcow2Mutator::change_extension() {
    std::uint64_t at = header_.header_length;
    for (std::uint64_t skip = below(6); skip > 0; --skip) {
        const auto extension = get<disk::ExtensionHeader>(at);
        if (extension.type == disk::extension_end) break;
        at += sizeof(disk::ExtensionHeader) + round_up(extension.length, 8);
    }
    auto extension = get<disk::ExtensionHeader>(at);
    switch (below(3)) {
        case 0:
            extension.type = extension_types[below(extension_types.size())];
            return put(at, extension);
        case 1:
            extension.length = static_cast<std::uint32_t>(odd_value(extension.length));
            return put(at, extension);
        default:
            return put<std::uint8_t>(
                at + sizeof(extension) + below(std::min<std::uint64_t>(extension.length, 64) + 1),
                static_cast<std::uint8_t>(below(256)));
    }
}

// In front of the others, which move. Returns where its content is; 0 when there is no room.
std::uint64_t Qcow2Mutator::insert_extension(std::uint32_t type, std::uint32_t length) {
    const std::uint64_t at = header_.header_length;
    const std::uint64_t end = std::min<std::uint64_t>(geometry_.cluster_bytes(), image_.size());
    const std::uint64_t added = sizeof(disk::ExtensionHeader) + round_up(length, 8);
    if (at > end || end - at < added) return 0;
    const auto area = std::span(image_).subspan(at, end - at);
    std::copy_backward(area.begin(), area.end() - static_cast<std::ptrdiff_t>(added), area.end());
    put(at, disk::ExtensionHeader{type, length});
    if (header_.backing_file_offset != 0)
        put<be64>(offsetof(disk::Header, backing_file_offset), header_.backing_file_offset + added);
    return at + sizeof(disk::ExtensionHeader);
}

void Qcow2Mutator::add_extension() {
    if (one_in(4)) return add_pin();
    const auto length = static_cast<std::uint32_t>(below(33));
    insert_extension(extension_types[1 + below(extension_types.size() - 1)], length);
}

void Qcow2Mutator::add_pin() {
    disk::PinExtension pin{};
    pin.layout = disk::pin_layout;
    pin.format = one_in(2) ? disk::pin_format_raw : disk::pin_format_qcow2;
    pin.flags = static_cast<std::uint8_t>(below(4));
    pin.modified_seconds = odd_value(0);
    pin.file_bytes = odd_value(image_.size());
    pin.disk_bytes = odd_value(header_.size);
    const bool has_content = one_in(2);
    const auto length = static_cast<std::uint32_t>(sizeof(pin) + (has_content ? sizeof(Digest) : 0));
    const std::uint64_t at = insert_extension(disk::extension_pin, length);
    if (at != 0) put(at, pin);
}

void Qcow2Mutator::change_l1() {
    const Place entry = some_entry(header_.l1_table_offset, header_.l1_size, qcow2::table_entry_bytes);
    if (!entry.is_there) return;
    const std::uint64_t old = get<be64>(entry.at);
    switch (below(5)) {
        case 0:
            return put<be64>(entry.at, some_cluster() | (old & disk::flag_copied));
        case 1:
            return put<be64>(entry.at, old ^ disk::flag_copied);
        case 2:
            return put<be64>(entry.at, 0);
        case 3:  // one table under two entries
            return put<be64>(header_.l1_table_offset + below(header_.l1_size) * qcow2::table_entry_bytes,
                             old);
        default:
            return put<be64>(entry.at, odd_value(old));
    }
}

void Qcow2Mutator::change_l2() {
    const Place entry = some_l2_entry();
    if (!entry.is_there) return;
    const std::uint64_t old = get<be64>(entry.at);
    const std::uint64_t copied = below(2) * disk::flag_copied;
    switch (below(8)) {
        case 0:
            return put<be64>(entry.at, 0);
        case 1:
            return put<be64>(entry.at, disk::flag_zero);
        case 2:
            return put<be64>(entry.at, some_cluster() | disk::flag_zero | copied);
        case 3:
            return put<be64>(entry.at, some_cluster() | copied);
        case 4:
            return put<be64>(entry.at, old ^ disk::flag_copied);
        case 5:
            return put<be64>(entry.at, old ^ disk::flag_zero);
        case 6:  // one cluster under two entries
            return put<be64>(some_l2_entry().at, old);
        default:
            return put<be64>(entry.at, odd_value(old));
    }
}

void Qcow2Mutator::change_subclusters() {
    const Place entry = some_l2_entry();
    if (!entry.is_there || !geometry_.extended_l2()) return change_l2();
    const std::uint64_t at = entry.at + sizeof(be64);
    const std::uint64_t old = get<be64>(at);
    const std::uint64_t bits = (std::uint64_t{random_()} << 32 | random_()) & ~(~0ull << below(65) / 2);
    switch (below(4)) {
        case 0:  // each subcluster one of the three
            return put<be64>(at, (bits & 0xffffffff) | (~bits & std::uint64_t{random_()}) << 32);
        case 1:
            return put<be64>(at, old ^ 1ull << below(64));
        case 2:
            return put<be64>(at, one_in(2) ? qcow2::all_subclusters_zero : qcow2::all_subclusters_allocated);
        default:
            return put<be64>(at, bits);
    }
}

// A whole stream at the end of the file, or a flaw in one that is there.
void Qcow2Mutator::change_compressed() {
    const Place place = some_l2_entry();
    if (!place.is_there) return;
    const qcow2::L2Entry old{get<be64>(place.at), 0};
    if (old.is_compressed() && !one_in(4)) {
        const auto data = old.compressed(geometry_);
        switch (below(3)) {
            case 0:
                return put<std::uint8_t>(data.host.bytes + below(data.bytes),
                                         static_cast<std::uint8_t>(below(256)));
            case 1:  // another length
                return put<be64>(place.at, old.word ^ 1ull << geometry_.compressed_offset_bits());
            default:
                return put<be64>(place.at, old.word + below(1024) - 512);
        }
    }
    Bytes cluster(geometry_.cluster_bytes(), static_cast<std::byte>(below(256)));
    for (std::uint64_t i = 0, flaws = below(64); i < flaws; ++i)
        cluster[below(cluster.size())] = static_cast<std::byte>(random_());
    const auto codec = header_.compression_type == 1 ? Codec::zstd : Codec::zlib;
    auto compressor = make_compressor(codec, std::nullopt);
    const auto data = (*compressor)->compress(cluster);
    if (!data || image_.size() + data->size() > bytes_max_) return;
    const HostOffset end(image_.size());
    image_.insert(image_.end(), data->begin(), data->end());
    put<be64>(place.at, qcow2::L2Entry::for_compressed(geometry_, end, data->size()).word);
}

void Qcow2Mutator::change_refcount_table() {
    const std::uint64_t entries =
        header_.refcount_table_clusters * geometry_.cluster_bytes() / qcow2::table_entry_bytes;
    const Place entry = some_entry(header_.refcount_table_offset, entries, qcow2::table_entry_bytes);
    if (!entry.is_there) return;
    put<be64>(entry.at, one_in(2) ? some_cluster() : odd_value(get<be64>(entry.at)));
}

void Qcow2Mutator::change_refcount_block() {
    const Place entry = some_entry(header_.refcount_table_offset, 4, qcow2::table_entry_bytes);
    if (!entry.is_there) return;
    const std::uint64_t block = get<be64>(entry.at) & disk::refcount_offset_mask;
    // where the counts of the file's own clusters lie
    const std::uint64_t used = geometry_.clusters_for(image_.size()) * geometry_.refcount_bits() / 8 + 1;
    const std::uint64_t at = block + below(std::min(used, geometry_.cluster_bytes()));
    const auto old = get<std::uint8_t>(at);
    constexpr std::array<std::uint8_t, 5> values = {0, 1, 2, 0x11, 0xff};
    put<std::uint8_t>(at, one_in(3) ? static_cast<std::uint8_t>(old + 1) : values[below(values.size())]);
}

void Qcow2Mutator::change_snapshot() {
    if (header_.nb_snapshots == 0 || one_in(8)) {
        // a few, or about as many as QEMU allows
        const std::uint64_t count = one_in(4) ? 65535 + below(3) : below(3);
        put<be32>(offsetof(disk::Header, nb_snapshots), static_cast<std::uint32_t>(count));
        return put<be64>(offsetof(disk::Header, snapshots_offset), some_cluster());
    }
    const std::uint64_t at = header_.snapshots_offset;
    auto entry = get<disk::SnapshotEntry>(at);
    switch (below(7)) {
        case 0:
            entry.l1_table_offset =
                (one_in(2) ? some_cluster() : +header_.l1_table_offset) + below(4) / 3 * 8;
            return put(at, entry);
        case 1:
            entry.l1_size = static_cast<std::uint32_t>(odd_value(entry.l1_size));
            return put(at, entry);
        case 2:
            entry.id_size = static_cast<std::uint16_t>(below(5));
            return put(at, entry);
        case 3:
            entry.name_size = static_cast<std::uint16_t>(odd_value(entry.name_size));
            return put(at, entry);
        case 4:
            entry.extra_data_size = static_cast<std::uint32_t>(below(8) * 8 + below(2));
            return put(at, entry);
        default:  // the disk's size when it was taken, and the rest of extra data, id and name
            return put<be64>(at + sizeof(entry) + below(4) * 8,
                             one_in(2) ? odd_value(header_.size) : +header_.size);
    }
}

void Qcow2Mutator::change_bitmap_directory() {
    const Place place = bitmaps_extension();
    if (!place.is_there) return add_extension();
    auto extension = get<disk::BitmapsExtension>(place.at);
    const std::uint64_t at = extension.directory_offset;
    auto entry = get<disk::BitmapEntry>(at);
    switch (below(9)) {
        case 0:
            extension.nb_bitmaps =
                static_cast<std::uint32_t>(one_in(4) ? 65535 + below(3) : odd_value(extension.nb_bitmaps));
            return put(place.at, extension);
        case 1:
            extension.directory_size = odd_value(extension.directory_size);
            return put(place.at, extension);
        case 2:
            extension.directory_offset = some_cluster();
            return put(place.at, extension);
        case 3:
            entry.table_offset = some_cluster();
            return put(at, entry);
        case 4:
            entry.table_size = static_cast<std::uint32_t>(odd_value(entry.table_size));
            return put(at, entry);
        case 5:
            entry.flags = entry.flags ^ static_cast<std::uint32_t>(1u << below(3));
            return put(at, entry);
        case 6:
            entry.granularity_bits = static_cast<std::uint8_t>(below(40));
            return put(at, entry);
        case 7:
            entry.name_size = static_cast<std::uint16_t>(odd_value(entry.name_size));
            return put(at, entry);
        default:
            return put<std::uint8_t>(at + below(sizeof(entry) + 8), static_cast<std::uint8_t>(below(256)));
    }
}

void Qcow2Mutator::change_bitmap_table() {
    const Place place = bitmaps_extension();
    if (!place.is_there) return;
    const auto entry = get<disk::BitmapEntry>(get<disk::BitmapsExtension>(place.at).directory_offset);
    const Place bits = some_entry(entry.table_offset, entry.table_size, qcow2::table_entry_bytes);
    if (!bits.is_there) return;
    switch (below(3)) {
        case 0:
            return put<be64>(bits.at, disk::bitmap_all_ones);
        case 1:
            return put<be64>(bits.at, some_cluster());
        default:
            return put<be64>(bits.at, odd_value(get<be64>(bits.at)));
    }
}

// A copy of a cluster over another or at the end, or an end of the file elsewhere.
void Qcow2Mutator::change_clusters() {
    const std::uint64_t bytes = geometry_.cluster_bytes();
    const std::uint64_t from = geometry_.offset_of(below(image_.size() / bytes)).bytes;
    if (from + bytes > image_.size()) return;
    const Bytes cluster(image_.begin() + static_cast<std::ptrdiff_t>(from),
                        image_.begin() + static_cast<std::ptrdiff_t>(from + bytes));
    switch (below(3)) {
        case 0: {
            const std::uint64_t to = geometry_.offset_of(1 + below(image_.size() / bytes)).bytes;
            if (to + bytes > image_.size()) return;
            std::copy(cluster.begin(), cluster.end(), image_.begin() + static_cast<std::ptrdiff_t>(to));
            return;
        }
        case 1:
            if (image_.size() + 2 * bytes > bytes_max_) return;
            image_.resize(round_up(image_.size(), bytes));
            image_.insert(image_.end(), cluster.begin(), cluster.end());
            return;
        default:
            if (from > bytes) image_.resize(from + below(bytes));
    }
}

void Qcow2Mutator::change_tail() {
    for (std::uint64_t i = 0, count = 1 + below(4); i < count; ++i)
        put<std::uint8_t>(image_.size() - 1 - below(tail_bytes), static_cast<std::uint8_t>(below(256)));
}

void Qcow2Mutator::mutate() {
    using Change = void (Qcow2Mutator::*)();
    constexpr std::array<Change, 20> changes = {
        &Qcow2Mutator::change_header_field,
        &Qcow2Mutator::change_features,
        &Qcow2Mutator::change_extension,
        &Qcow2Mutator::add_extension,
        &Qcow2Mutator::change_l1,
        &Qcow2Mutator::change_l2,
        &Qcow2Mutator::change_l2,
        &Qcow2Mutator::change_l2,
        &Qcow2Mutator::change_subclusters,
        &Qcow2Mutator::change_subclusters,
        &Qcow2Mutator::change_compressed,
        &Qcow2Mutator::change_compressed,
        &Qcow2Mutator::change_refcount_table,
        &Qcow2Mutator::change_refcount_block,
        &Qcow2Mutator::change_snapshot,
        &Qcow2Mutator::change_snapshot,
        &Qcow2Mutator::change_bitmap_directory,
        &Qcow2Mutator::change_bitmap_table,
        &Qcow2Mutator::change_clusters,
        &Qcow2Mutator::change_tail,
    };
    (this->*changes[below(changes.size())])();
    if (image_.size() > bytes_max_) image_.resize(bytes_max_);
    read_header();
}

}  // namespace qimg::fuzz
