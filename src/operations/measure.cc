// Sizes of images to come, from the extents of the source and the layout of the target.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/measure.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/file_size.hpp"
#include "format/qcow2/qcow2.hpp"
#include "operations/extent_walk.hpp"
#include "operations/snapshot_view.hpp"

namespace qimg {

namespace {

// The bytes of all clusters of this size that data of the image would fall into.
Result<std::uint64_t> bytes_of_data(const Image& image, std::uint64_t cluster_bytes) {
    ExtentWalk walk(image);
    const GuestOffset end(image.size());
    std::uint64_t bytes = 0;
    for (GuestOffset at; at < end;) {
        const auto found = walk.at(GuestRange::between(at, end));
        if (!found) {
            Error error = found.error();
            error.detail = error.message;
            error.message = fmt::format("Unable to get block status: {}",
                                        errno_text(error.system_errno == 0 ? EIO : error.system_errno));
            return std::unexpected<Error>(std::move(error));
        }
        const GuestRange range = found->extent.range;
        at = range.end();
        if (found->reads_as_zeroes()) continue;
        at = GuestOffset(round_up(range.end().bytes, cluster_bytes));
        bytes += at.bytes - round_down(range.start.bytes, cluster_bytes);
    }
    return bytes;
}

Result<MeasureReport> measure_qcow2(const MeasureOptions& options, const Image* source, std::uint64_t size) {
    const qcow2::Geometry geometry = TRY(qcow2::checked_geometry(options.qcow2));
    if (geometry.l1_entries_for(size) * qcow2::table_entry_bytes > qcow2::l1_table_bytes_max) {
        return fail(ErrorKind::no_space, "The image size is too large (try using a larger cluster size)");
    }
    const std::uint64_t all_data = round_up(size, geometry.cluster_bytes());
    std::uint64_t data = 0;
    if (options.preallocation == Preallocation::full || options.preallocation == Preallocation::falloc) {
        data = all_data;
    } else if (source != nullptr) {
        // what the backing file will have is not known
        data = options.qcow2.backing_file ? all_data : TRY(bytes_of_data(*source, geometry.cluster_bytes()));
    }
    MeasureReport report;
    report.fully_allocated = qcow2::full_file_bytes(geometry, size);
    report.required = report.fully_allocated - all_data + data;

    const auto* from = source == nullptr ? nullptr : dynamic_cast<const qcow2::Qcow2*>(&source->format());
    if (from != nullptr && from->header().version >= 3 && options.qcow2.version >= 3) {
        const auto directory = TRY(qcow2::read_bitmaps(from->storage(), from->header()));
        report.bitmaps = qcow2::bitmaps_bytes(geometry, size, directory.bitmaps);
    }
    return report;
}

}  // namespace

Result<MeasureReport> measure(const MeasureOptions& options, Opener& opener) {
    std::unique_ptr<Image> source;
    if (options.source) source = TRY(Image::open(options.source->path, options.source->open, opener));
    if (source && options.snapshot) TRY(show_snapshot(*source, *options.snapshot));
    const std::uint64_t size = round_up(source ? source->size() : options.size, sector_bytes);
    if (options.format == "qcow2") return measure_qcow2(options, source.get(), size);
    if (options.format == "raw") return MeasureReport{size, size, std::nullopt};
    if (options.format == "vmdk")
        return fail(ErrorKind::unsupported, "Block driver 'vmdk' does not support size measurement");
    return failf(ErrorKind::invalid_argument, "Unknown file format '{}'", printable(options.format));
}

}  // namespace qimg
