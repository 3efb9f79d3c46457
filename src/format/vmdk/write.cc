// Writing to vmdk images. New grains go behind everything that is there; the tables that lead to them follow,
// with a flush in between.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/vmdk/vmdk.hpp"

namespace qimg::vmdk {

Result<void> Vmdk::prepare_writing(GuestRange) {
    if (prepared_) return {};
    if (!options_.writable)
        return failf(ErrorKind::read_only, "{}: is open for reading only", printable(storage_->name()));
    if (header_.has_footer) {
        return failf(ErrorKind::unsupported,
                     "{}: can only be read: its tables stand behind its grains, where new ones would go",
                     printable(storage_->name()));
    }
    TRY(tables_.prepare_changes());
    if (options_.ordered) TRY(renew_cid());
    const std::uint64_t file_bytes = TRY(storage_->size());
    const std::uint64_t end = std::max(file_bytes, header_.overhead.bytes);
    free_ = HostOffset(round_up(end, header_.compressed ? sector_bytes : header_.grain_bytes));
    prepared_ = true;
    return {};
}

// vmdk "The Header": so that an image that stands on this one can tell that it is another. Torn by a crash, the
// digits are as different.
Result<void> Vmdk::renew_cid() {
    Bytes text(header_.descriptor.length);
    TRY(storage_->read(header_.descriptor.start, text));
    const std::string_view old = cid_digits(text_of(text));
    const std::string digits = another_cid(old);
    TRY(storage_->write(
        header_.descriptor.start + static_cast<std::uint64_t>(old.data() - text_of(text).data()),
        bytes_of(digits)));
    TRY(storage_->read(header_.descriptor.start, text));
    descriptor_ = TRY(parse_descriptor(text_of(text)));
    return {};
}

// Entries hold 32 bits.
Result<HostOffset> Vmdk::allocate(std::uint64_t bytes) {
    constexpr std::uint64_t end_max = std::numeric_limits<std::uint32_t>::max() * sector_bytes;
    if (free_.bytes > end_max || bytes > end_max - free_.bytes) {
        return fail(ErrorKind::no_space,
                    fmt::format("{}: the file would be longer than 2 TiB, the most that vmdk has places for",
                                printable(storage_->name())),
                    EFBIG);
    }
    const HostOffset at = free_;
    free_ += bytes;
    return at;
}

Result<Reservation> Vmdk::reserve(GuestRange range) {
    if (header_.compressed) {
        return fail(
            ErrorKind::unsupported,
            "Could not write to allocated cluster for streamOptimized: it takes whole compressed grains, "
            "and each of them once");
    }
    const GuestOffset start(round_down(range.start.bytes, header_.grain_bytes));
    GuestOffset end = start + header_.grain_bytes;
    while (end < range.end() && place_of(end).table == place_of(start).table) {
        const Grain next = TRY(grain_at(end));
        if (may_write_in_place(next)) break;
        end += header_.grain_bytes;
    }
    const GuestRange cover = GuestRange::between(start, end);
    const HostOffset host = TRY(allocate(cover.length));
    return Reservation{cover, host, true};
}

Result<void> Vmdk::publish(const Reservation& reservation) {
    const GuestRange cover = reservation.cover;
    for (std::uint64_t done = 0; done < cover.length; done += header_.grain_bytes) {
        const std::uint64_t sector = (reservation.host.bytes + done) / sector_bytes;
        TRY(set_entry(cover.start + done, static_cast<std::uint32_t>(sector)));
    }
    return {};
}

void Vmdk::cancel(const Reservation& reservation) {
    if (reservation.host + reservation.cover.length == free_) free_ = reservation.host;
}

Result<void> Vmdk::set_entry(GuestOffset grain, std::uint32_t entry) {
    const Place place = place_of(grain);
    TRY(tables_.set(place.table, place.entry, entry));
    return tables_.are_many_changed() ? write_tables() : Result<void>();
}

Result<void> Vmdk::write_compressed(GuestOffset cluster, std::span<const std::byte> data) {
    const HostOffset at = TRY(place_compressed(cluster, data.size()));
    TRY(storage_->write(at + sizeof(disk::GrainMarker), data));
    return set_entry(cluster, static_cast<std::uint32_t>(at.bytes / sector_bytes));
}

Result<HostOffset> Vmdk::publish_compressed(GuestOffset cluster, std::uint64_t bytes) {
    const HostOffset at = TRY(place_compressed(cluster, bytes));
    TRY(set_entry(cluster, static_cast<std::uint32_t>(at.bytes / sector_bytes)));
    return at + sizeof(disk::GrainMarker);
}

// Where the grain's marker, which is written here, and so many bytes have room.
Result<HostOffset> Vmdk::place_compressed(GuestOffset cluster, std::uint64_t bytes) {
    if (!header_.compressed)
        return fail(ErrorKind::unsupported, "Only streamOptimized images hold compressed grains");
    TRY(prepare_writing(GuestRange(cluster, header_.grain_bytes)));
    const Grain old = TRY(grain_at(cluster));
    if (old.kind == MappingKind::compressed)
        return fail(ErrorKind::unsupported, "Could not write to allocated cluster for streamOptimized");
    disk::GrainMarker marker;
    marker.sector = cluster.bytes / sector_bytes;
    marker.bytes = static_cast<std::uint32_t>(bytes);
    const HostOffset at = TRY(allocate(round_up(sizeof(marker) + bytes, sector_bytes)));
    TRY(storage_->write(at, std::as_bytes(std::span(&marker, 1))));
    return at;
}

Result<bool> Vmdk::zero(GuestRange range, bool keep_space) {
    if (!header_.zeroed_grains || keep_space) return false;
    TRY(prepare_writing(range));
    for (GuestOffset at = range.start; at < range.end(); at += header_.grain_bytes) {
        const Grain old = TRY(grain_at(at));
        const bool has_data = old.kind == MappingKind::data || old.kind == MappingKind::compressed;
        if (has_data) TRY(set_entry(at, disk::entry_zeroed));
    }
    return true;
}

// Grains first: an entry never leads to what is not there yet.
Result<void> Vmdk::write_tables() {
    const std::uint64_t bytes = TRY(storage_->size());
    // of a last grain, only what is not zero may have been written
    if (bytes < free_.bytes) TRY(storage_->resize(free_.bytes));
    if (options_.ordered) TRY(storage_->flush());
    return tables_.write(*storage_);
}

Result<void> Vmdk::flush() {
    if (tables_.are_any_changed()) TRY(write_tables());
    return options_.ordered ? storage_->flush() : Result<void>();
}

}  // namespace qimg::vmdk
