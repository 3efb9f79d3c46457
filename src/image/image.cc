// Guest reads and writes over a format and its backing chain.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/image.hpp"

#include <algorithm>
#include <utility>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "storage/faults.hpp"

namespace qimg {

namespace {

// The most that is buffered when old content is copied or zeroes are written.
constexpr std::uint64_t copy_bytes_max = 2 * MiB;
constexpr std::uint64_t writeback_gap_max = MiB;

std::span<std::byte> part_of(std::span<std::byte> whole, GuestOffset start, GuestRange part) {
    return whole.subspan(part.start - start, part.length);
}

// Reads a range that may go past the end of the image: zeroes there.
Result<void> read_padded(const Image& image, GuestRange range, std::span<std::byte> into) {
    const GuestRange inside = intersection(range, GuestRange(GuestOffset(0), image.size()));
    if (!inside.empty()) TRY(image.read(inside.start, into.first(inside.length)));
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(inside.length), into.end(), std::byte{0});
    return {};
}

}  // namespace

Image::Image(std::string path, std::unique_ptr<Format> format, std::unique_ptr<Image> backing)
    : path_(std::move(path)), format_(std::move(format)), backing_(std::move(backing)) {}

Image::~Image() = default;

void Image::assemble(std::shared_ptr<const Assembly> assembly) {
    assembly_ = std::move(assembly);
    if (!assembly_->guest_faults.empty()) faults_ = std::make_unique<Faults>(assembly_->guest_faults);
}

Result<void> Image::check_faults(Fault::Operation operation, GuestRange range) const {
    if (!faults_) return {};
    return faults_->check(operation, range.start.bytes, range.length);
}

std::uint64_t Image::size() const {
    return format_->size();
}

std::string_view Image::format_name() const {
    return format_->name();
}

Result<void> Image::check_range(GuestRange range) const {
    if (range.start.bytes <= size() && range.length <= size() - range.start.bytes) return {};
    return failf(ErrorKind::invalid_argument, "{}: {} bytes at {:#x} go past the end of the {}-byte disk",
                 printable(path_), range.length, range.start.bytes, size());
}

Result<void> Image::read(GuestOffset start, std::span<std::byte> into) const {
    TRY(check_range(GuestRange(start, into.size())));
    TRY(check_faults(Fault::Operation::read, GuestRange(start, into.size())));
    const GuestOffset end = start + into.size();
    for (GuestOffset at = start; at < end;) {
        const Mapping mapping = TRY(format_->map(GuestRange::between(at, end)));
        const auto part = part_of(into, start, mapping.range);
        switch (mapping.kind) {
            case MappingKind::data:
                TRY(format_->data_storage().read(*mapping.host, part));
                break;
            case MappingKind::compressed:
                TRY(format_->read_compressed(mapping, 0, part));
                break;
            case MappingKind::unallocated:
                if (backing_) {
                    TRY(read_padded(*backing_, mapping.range, part));
                    break;
                }
                [[fallthrough]];
            case MappingKind::zeroes:
                std::fill(part.begin(), part.end(), std::byte{0});
                break;
        }
        at = mapping.range.end();
    }
    return {};
}

Result<void> Image::write(GuestOffset start, std::span<const std::byte> from) {
    TRY(check_range(GuestRange(start, from.size())));
    if (from.empty()) return {};
    TRY(check_faults(Fault::Operation::write, GuestRange(start, from.size())));
    TRY(format_->prepare_writing(GuestRange(start, from.size())));
    const GuestOffset end = start + from.size();
    for (GuestOffset at = start; at < end;) {
        const Mapping mapping = TRY(format_->map(GuestRange::between(at, end)));
        const auto part = from.subspan(at - start, mapping.range.length);
        if (mapping.in_place) {
            TRY(format_->data_storage().write(*mapping.host, part));
        } else {
            TRY(write_reserved(at, part));
        }
        at = mapping.range.end();
    }
    return {};
}

// Into reserved space, with the old content around it where the space is larger than what is written.
Result<void> Image::write_reserved(GuestOffset start, std::span<const std::byte> from) {
    const GuestOffset end = start + from.size();
    for (GuestOffset at = start; at < end;) {
        const Reservation reservation = TRY(format_->reserve(GuestRange::between(at, end)));
        const GuestRange cover = reservation.cover;
        const GuestRange data = intersection(cover, GuestRange::between(at, end));
        const auto fill_and_write = [&]() -> Result<void> {
            const Space space = TRY(look_at_space(reservation));
            TRY(fill_from_chain(GuestRange::between(cover.start, data.start), reservation.host, space));
            TRY(format_->data_storage().write(reservation.host + (data.start - cover.start),
                                              from.subspan(data.start - start, data.length)));
            return fill_from_chain(GuestRange::between(data.end(), cover.end()),
                                   reservation.host + (data.end() - cover.start), space);
        };
        if (Result<void> written = fill_and_write(); !written) {
            format_->cancel(reservation);
            return written;
        }
        TRY(format_->publish(reservation));
        at = data.end();
    }
    return {};
}

// Behind the end of the file there is nothing yet.
Result<Image::Space> Image::look_at_space(const Reservation& reservation) const {
    if (!reservation.fresh) return Space::taken;
    const std::uint64_t file_bytes = TRY(format_->data_storage().size());
    return reservation.host.bytes >= file_bytes ? Space::zeroes : Space::unknown;
}

// Copies what guests see in `part` to new space. Zeroes need not be written: space that was nobody's may read as
// zeroes through a hole.
Result<void> Image::fill_from_chain(GuestRange part, HostOffset to, Space space) {
    const GuestRange disk(GuestOffset(0), size());
    Bytes buffer;
    while (!part.empty()) {
        Extent run{part, ExtentKind::zeroes, 0, std::nullopt, 0};  // as behind the end of the disk
        if (disk.contains(part.start)) {
            const Extent known = TRY(locate(intersection(part, disk)));
            run = known;
        }
        const bool is_zero = run.kind == ExtentKind::zeroes || run.kind == ExtentKind::unallocated;
        std::uint64_t step = run.range.length;
        if (!is_zero || space == Space::taken) {
            step = std::min(step, copy_bytes_max);
            buffer.resize(step);
            TRY(read_padded(*this, GuestRange(part.start, step), buffer));
            TRY(format_->data_storage().write(to, buffer));
        } else if (space == Space::unknown) {
            TRY(format_->data_storage().write_zeroes(HostRange(to, step)));
        }
        to += step;
        part = GuestRange::between(part.start + step, part.end());
    }
    return {};
}

// What lies close together in the file is one call: the system knows which pages in it were written to.
void Image::start_writeback(GuestRange range) {
    Storage& storage = format_->data_storage();
    HostRange run;
    for (GuestOffset at = range.start; at < range.end();) {
        const auto mapping = format_->map(GuestRange::between(at, range.end()));
        if (!mapping) break;  // the next use of that part tells
        at = mapping->range.end();
        if (mapping->kind != MappingKind::data) continue;
        const HostRange next(*mapping->host, mapping->range.length);
        const bool is_close = next.start >= run.start && next.start <= run.end() + writeback_gap_max;
        if (!run.empty() && !is_close) storage.start_writeback(std::exchange(run, HostRange()));
        run = run.empty() ? next : HostRange::between(run.start, std::max(run.end(), next.end()));
    }
    storage.start_writeback(run);
}

Result<void> Image::write_zeroes(GuestRange range, Zeroing how) {
    TRY(check_range(range));
    if (range.empty()) return {};
    TRY(check_faults(Fault::Operation::write, range));
    TRY(format_->prepare_writing(range));
    const std::uint64_t unit = format_->subcluster_bytes();
    GuestRange inner = GuestRange::between(GuestOffset(round_up(range.start.bytes, unit)),
                                           GuestOffset(round_down(range.end().bytes, unit)));
    // the last unit may be cut short by the end of the disk
    if (range.end().bytes == size() && !inner.empty()) inner = GuestRange::between(inner.start, range.end());
    if (inner.empty()) return write_literal_zeroes(range, how);
    TRY(write_literal_zeroes(GuestRange::between(range.start, inner.start), how));
    TRY(write_literal_zeroes(GuestRange::between(inner.end(), range.end()), how));
    const bool done = TRY(format_->zero(inner, how == Zeroing::keep_space));
    if (done) return {};
    return write_literal_zeroes(inner, how);
}

// Only where the range does not read as zeroes already, on the word of the right image.
Result<void> Image::write_literal_zeroes(GuestRange range, Zeroing how) {
    const Bytes zeroes(std::min(range.length, copy_bytes_max));
    for (GuestOffset at = range.start; at < range.end();) {
        const Extent run = TRY(extent(GuestRange::between(at, range.end())));
        const bool from_below = run.depth > 0 || run.kind == ExtentKind::unallocated;
        const bool counts = how != Zeroing::own || !backing_ || !from_below;
        const bool is_zero_already =
            counts && (run.kind == ExtentKind::zeroes || run.kind == ExtentKind::unallocated);
        const std::uint64_t step =
            is_zero_already ? run.range.length : std::min<std::uint64_t>(run.range.length, zeroes.size());
        if (!is_zero_already) TRY(write(at, std::span(zeroes).first(step)));
        at += step;
    }
    return {};
}

Result<void> Image::discard(GuestRange range) {
    TRY(check_range(range));
    const std::uint64_t unit = format_->cluster_bytes();
    const GuestOffset start(round_up(range.start.bytes, unit));
    const GuestOffset end =
        range.end().bytes == size() ? range.end() : GuestOffset(round_down(range.end().bytes, unit));
    if (end <= start) return {};
    return format_->discard(GuestRange::between(start, end));
}

Result<void> Image::flush() {
    TRY(check_faults(Fault::Operation::flush, {}));
    return format_->flush();
}

Result<Extent> Image::extent(GuestRange range) const {
    TRY(check_range(range));
    TRY(check_faults(Fault::Operation::block_status, range));
    return locate(range);
}

// Where the range, which is inside the disk, comes from.
Result<Extent> Image::locate(GuestRange range) const {
    const Mapping mapping = TRY(format_->map(range));
    Extent extent{mapping.range, ExtentKind::data, 0, mapping.host, mapping.compressed_bytes};
    switch (mapping.kind) {
        case MappingKind::data:
            return extent;
        case MappingKind::compressed:
            extent.kind = ExtentKind::compressed;
            return extent;
        case MappingKind::zeroes:
            extent.kind = ExtentKind::zeroes;
            return extent;
        case MappingKind::unallocated:
            break;
    }
    extent.kind = ExtentKind::unallocated;
    if (!backing_) return extent;
    const GuestRange below = intersection(mapping.range, GuestRange(GuestOffset(0), backing_->size()));
    if (below.empty()) return extent;  // past the end of the backing image
    Extent found = TRY(backing_->extent(below));
    ++found.depth;
    return found;
}

}  // namespace qimg
