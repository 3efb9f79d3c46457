// Longer and shorter disks.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/resize.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/resize.hpp"
#include "format/vmdk/vmdk.hpp"
#include "operations/resize_disk.hpp"

namespace qimg {

namespace {

Result<void> clear_new_part(Image& image, GuestRange added, Zeroing how) {
    const GuestRange exposed = exposed_part(image, added);
    return exposed.empty() ? Result<void>() : image.write_zeroes(exposed, how);
}

// A raw data file is the disk, as far as the disk goes. What it has behind the old end was there before the image
// was: it stays, as in qemu-img, and guests see it. A cluster that the tables give no place is another matter: its
// beginning would change with its end.
Result<bool> shows_data_file(qcow2::Qcow2& format, GuestOffset old_end) {
    if (!format.header().data_file_raw()) return false;
    if (is_aligned(old_end.bytes, format.cluster_bytes())) return true;
    const Mapping last = TRY(format.map(GuestRange(GuestOffset(old_end.bytes - 1), 1)));
    return last.kind == MappingKind::data;
}

// What a data file that is not the disk itself has where the new part gets its space: guests never saw it there, or
// it is left of a longer disk.
Result<GuestRange> stale_part(const qcow2::Qcow2& format, GuestRange added) {
    const qcow2::Header& header = format.header();
    if (!header.has_data_file() || header.data_file_raw()) return GuestRange(added.start, 0);
    const std::uint64_t held = TRY(format.data_storage().size());
    return intersection(added, GuestRange::between(GuestOffset(0), GuestOffset(held)));
}

// Space for the new part. The cluster that the old end of the disk lies in gets its own first, by a write, which
// takes along what guests see in front of that end, be it from below.
Result<void> preallocate_new_part(Image& image, qcow2::Qcow2& format, GuestRange added,
                                  Preallocation preallocation, Progress& progress) {
    const GuestOffset cluster_end(round_up(added.start.bytes, format.cluster_bytes()));
    const GuestRange shared = intersection(added, GuestRange::between(added.start, cluster_end));
    if (!shared.empty()) TRY(image.write(shared.start, Bytes(shared.length)));
    const GuestRange rest = GuestRange::between(shared.end(), added.end());
    return qcow2::preallocate(format, rest, preallocation, progress);
}

Result<void> resize_raw(Storage& storage, std::uint64_t bytes, Preallocation preallocation) {
    const std::uint64_t old = TRY(storage.size());
    const HostRange added = HostRange::between(HostOffset(old), HostOffset(bytes));
    switch (preallocation) {
        case Preallocation::metadata:
            return fail(ErrorKind::invalid_argument, "Unsupported preallocation mode: metadata");
        case Preallocation::falloc:
            TRY(storage.allocate(added));
            break;
        case Preallocation::full:
            TRY(write_plain_zeroes(storage, added));
            break;
        case Preallocation::off:
            TRY(storage.resize(bytes));
            break;
    }
    return storage.flush();
}

// Formats that can only grow, if at all.
Result<void> resize_foreign(Image& image, std::uint64_t bytes, Preallocation preallocation) {
    if (bytes < image.size() || preallocation != Preallocation::off)
        return fail(ErrorKind::unsupported, "Image format driver does not support resize");
    return bytes == image.size() ? Result<void>() : lengthen_disk(image, bytes);
}

}  // namespace

GuestRange exposed_part(const Image& image, GuestRange added) {
    const std::uint64_t unit = image.format().cluster_bytes();
    const GuestOffset cluster_end(round_up(added.start.bytes, unit));
    const std::uint64_t backing_bytes = image.backing() != nullptr ? image.backing()->size() : 0;
    const GuestOffset end = backing_bytes > added.start.bytes ? added.end() : cluster_end;
    return intersection(added, GuestRange::between(added.start, end));
}

Result<void> resize_disk(Image& image, qcow2::Qcow2& format, std::uint64_t bytes, Preallocation preallocation,
                         Progress& progress) {
    const std::uint64_t old = image.size();
    if (bytes < old) {
        const GuestOffset end(std::min(round_up(bytes, image.format().cluster_bytes()), old));
        return qcow2::shrink(
            format, bytes, [&] { return image.write_zeroes(GuestRange::between(GuestOffset(bytes), end)); });
    }
    const GuestRange added(GuestOffset(old), bytes - old);
    // a raw data file is read without the tables, so they have to say what it holds
    if (format.header().data_file_raw() && preallocation == Preallocation::off)
        preallocation = Preallocation::metadata;
    const bool is_kept = TRY(shows_data_file(format, added.start));
    const GuestRange stale = TRY(stale_part(format, added));
    return qcow2::grow(format, bytes, [&]() -> Result<void> {
        if (is_kept) return qcow2::preallocate(format, added, preallocation, progress);
        // places without content: zeroes are said about them, not in their stead
        const bool places_only = preallocation == Preallocation::metadata;
        if (!places_only) TRY(clear_new_part(image, added, Zeroing::cheapest));
        if (preallocation != Preallocation::off) {
            TRY(preallocate_new_part(image, format, added, preallocation, progress));
        }
        if (places_only) TRY(clear_new_part(image, added, Zeroing::keep_space));
        const bool shows_stale = places_only || preallocation == Preallocation::falloc;
        return shows_stale && !stale.empty() ? image.write_zeroes(stale, Zeroing::keep_space)
                                             : Result<void>();
    });
}

Result<void> lengthen_disk(Image& image, std::uint64_t bytes) {
    if (auto* const format = dynamic_cast<qcow2::Qcow2*>(&image.format()))
        return resize_disk(image, *format, bytes, Preallocation::off, no_progress());
    if (auto* const format = dynamic_cast<vmdk::Vmdk*>(&image.format())) return format->grow(bytes);
    return fail(ErrorKind::unsupported, "Image format driver does not support resize");
}

Result<ResizeReport> resize(const ResizeOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = Access::read_write;
    const auto image = TRY(Image::open(options.path, open, opener));
    const std::uint64_t old = image->size();
    std::optional<std::uint64_t> wanted = options.size.apply(old);
    if (!wanted || (options.size.kind != SizeChange::Kind::absolute && *wanted == 0)) {
        return fail(ErrorKind::invalid_argument, "New image size must be positive");
    }
    wanted = round_up(*wanted, sector_bytes);
    if (*wanted < old && options.preallocation != Preallocation::off) {
        return fail(ErrorKind::invalid_argument, "Preallocation can only be used for growing");
    }
    if (*wanted < old && !options.shrink) {
        return fail(ErrorKind::invalid_argument, "Use the --shrink option to perform a shrink operation.");
    }
    if (auto* format = dynamic_cast<qcow2::Qcow2*>(&image->format())) {
        if (*wanted != old) TRY(resize_disk(*image, *format, *wanted, options.preallocation, progress));
    } else if (image->format_name() != "raw") {
        TRY(resize_foreign(*image, *wanted, options.preallocation));
    } else {
        TRY(resize_raw(image->format().data_storage(), *wanted, options.preallocation));
    }
    return ResizeReport{old, *wanted};
}

}  // namespace qimg
