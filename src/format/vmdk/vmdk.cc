// Opening and reading vmdk images.
// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/vmdk.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vmdk {

namespace {

constexpr std::string_view descriptor_file = "# Disk DescriptorFile";
constexpr std::string_view esx_sparse = "COWD";

// What begins in another way is a vmdk, too, but not one of a single file.
Result<void> refuse_several_files(const Storage& storage) {
    std::array<std::byte, descriptor_file.size()> start;
    TRY(storage.read(HostOffset(0), start));
    if (text_of(start).starts_with(esx_sparse))
        return fail(ErrorKind::unsupported, "Sparse extents of ESX are not supported");
    if (text_of(start) != descriptor_file) return {};
    const std::uint64_t file_bytes = TRY(storage.size());
    Bytes text(std::min(file_bytes, descriptor_bytes_max));
    TRY(storage.read(HostOffset(0), text));
    TRY(parse_descriptor(text_of(text)));
    return fail(ErrorKind::corrupt, "The descriptor of a disk of one file has to be inside that file");
}

}  // namespace

Result<std::unique_ptr<Vmdk>> Vmdk::open(std::unique_ptr<Storage> storage, const VmdkOptions& options) {
    TRY(refuse_several_files(*storage));
    const Header header = TRY(read_header(*storage));
    if (options.writable && header.version == disk::version_max && !header.compressed)
        return fail(ErrorKind::invalid_argument, "VMDK version 3 must be read only");
    Bytes text(header.descriptor.length);
    TRY(storage->read(header.descriptor.start, text));
    auto descriptor = TRY(parse_descriptor(text_of(text)));
    auto image = std::make_unique<Vmdk>(std::move(storage), header, std::move(descriptor), options);
    TRY(image->tables_.load_directory());
    image->file_bytes_ = TRY(image->storage_->size());
    return image;
}

Vmdk::Vmdk(std::unique_ptr<Storage> storage, const Header& header, Descriptor descriptor,
           const VmdkOptions& options)
    : storage_(std::move(storage)),
      header_(header),
      descriptor_(std::move(descriptor)),
      options_(options),
      tables_(*storage_, header_) {}

Result<void> Vmdk::describe(ImageInfo& info) const {
    info.cluster_bytes = header_.grain_bytes;
    info.vmdk = VmdkInfo{descriptor_.cid, descriptor_.parent_cid, descriptor_.create_type, header_.compressed,
                         header_.size,    storage_->name(),       header_.grain_bytes};
    return {};
}

Vmdk::Place Vmdk::place_of(GuestOffset at) const {
    const std::uint64_t in_table = at.bytes % header_.table_reach_bytes();
    return {at.bytes / header_.table_reach_bytes(),
            static_cast<std::uint32_t>(in_table / header_.grain_bytes)};
}

Result<Grain> Vmdk::grain(std::uint32_t entry) const {
    if (entry == disk::entry_none) return Grain{};
    if (entry == disk::entry_zeroed && header_.zeroed_grains) return Grain{MappingKind::zeroes, {}};
    const HostOffset host(entry * sector_bytes);
    std::uint64_t file_bytes = std::max(file_bytes_, free_.bytes);
    // another process may have made it longer
    if (host.bytes >= file_bytes) file_bytes = TRY(storage_->size());
    if (host.bytes < file_bytes)
        return Grain{header_.compressed ? MappingKind::compressed : MappingKind::data, host};
    return failf(ErrorKind::corrupt, "{}: a grain at {:#x} is not inside the file of {} bytes",
                 printable(storage_->name()), host.bytes, file_bytes);
}

Result<Grain> Vmdk::grain_at(GuestOffset at) const {
    const Place place = place_of(at);
    const auto table = TRY(tables_.read(place.table));
    return table ? grain((*table)[place.entry]) : Grain{};
}

// A broken table could lead a write to the tables themselves.
bool Vmdk::may_write_in_place(const Grain& grain) const {
    return prepared_ && grain.kind == MappingKind::data && grain.host >= header_.overhead &&
           !tables_.occupy(HostRange(grain.host, header_.grain_bytes));
}

Result<Mapping> Vmdk::map(GuestRange range) const {
    range = intersection(range, GuestRange(GuestOffset(0), header_.size));
    std::uint64_t number = place_of(range.start).table;
    const auto table_end = [&] { return GuestOffset((number + 1) * header_.table_reach_bytes()); };
    const auto table = TRY(tables_.read(number));
    const GuestRange here = GuestRange::between(range.start, std::min(range.end(), table_end()));
    if (table) return map_table(*table, here);
    while (table_end() < range.end() && tables_.is_missing(number + 1))
        ++number;
    return Mapping{GuestRange::between(range.start, std::min(range.end(), table_end())),
                   MappingKind::unallocated, std::nullopt, false, 0};
}

Result<Mapping> Vmdk::map_table(const Table& table, GuestRange range) const {
    Mapping mapping;
    mapping.range = GuestRange(range.start, 0);
    for (GuestOffset at = range.start; at < range.end(); at = mapping.range.end()) {
        const std::uint64_t inside = at.bytes % header_.grain_bytes;
        const auto here = grain(table[place_of(at).entry]);
        if (!here && mapping.range.empty()) return std::unexpected<Error>(here.error());
        if (!here) break;  // what comes before the broken entry can be read
        const bool is_compressed = here->kind == MappingKind::compressed;
        const HostOffset host = here->host + (is_compressed ? 0 : inside);
        const bool has_host = here->kind == MappingKind::data || is_compressed;
        if (mapping.range.empty()) {
            mapping.kind = here->kind;
            mapping.in_place = may_write_in_place(*here);
            if (has_host) mapping.host = host;
            if (is_compressed) mapping.compressed_bytes = sizeof(disk::GrainMarker) + 2 * header_.grain_bytes;
        } else {
            const bool continues = here->kind == mapping.kind && !is_compressed &&
                                   may_write_in_place(*here) == mapping.in_place &&
                                   (!has_host || *mapping.host + mapping.range.length == host);
            if (!continues) break;
        }
        mapping.range.length += header_.grain_bytes - inside;
    }
    mapping.range = intersection(mapping.range, range);
    return mapping;
}

// vmdk "Stream-Optimized Compressed Sparse Extents": a marker, then as many bytes as it says.
Result<Bytes> Vmdk::read_stream(HostOffset marker) const {
    std::array<std::byte, sizeof(disk::GrainMarker)> bytes;
    TRY(storage_->read(marker, bytes));
    const std::uint64_t length = load<disk::GrainMarker>(bytes).bytes;
    const std::uint64_t file_bytes = TRY(storage_->size());
    const HostOffset start = marker + bytes.size();
    if (length == 0 || length > 2 * header_.grain_bytes || !fits_within(start.bytes, length, file_bytes))
        return failf(ErrorKind::corrupt, "its marker says {} bytes", length);
    Bytes stream(length);
    TRY(storage_->read(start, stream));
    return stream;
}

Result<void> Vmdk::read_compressed(const Mapping& mapping, std::uint64_t skip,
                                   std::span<std::byte> into) const {
    const auto damaged = [&](const Error& error) {
        return failf(error.kind, "{}: compressed grain at {:#x}: {}", printable(storage_->name()),
                     mapping.host->bytes, error.message);
    };
    const auto stream = read_stream(*mapping.host);
    if (!stream) return damaged(stream.error());
    const GuestOffset start(round_down(mapping.range.start.bytes, header_.grain_bytes));
    // the disk's last grain may have been stored as short as the disk cuts it
    const std::uint64_t length = std::min(header_.grain_bytes, header_.size - start.bytes);
    const std::uint64_t inside = (mapping.range.start - start) + skip;
    const bool whole = inside == 0 && into.size() == length;
    Bytes buffer(whole ? 0 : length);
    const auto done = decompress(Codec::zlib_stream, *stream, whole ? into : std::span<std::byte>(buffer));
    if (!done) return damaged(done.error());
    if (!whole) std::copy_n(buffer.begin() + static_cast<std::ptrdiff_t>(inside), into.size(), into.begin());
    return {};
}

}  // namespace qimg::vmdk
