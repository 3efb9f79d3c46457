// The order of an amendment: a version that can do more first, the disk's size next, one that can do less last.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/amend.hpp"

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/amend.hpp"
#include "format/qcow2/qcow2.hpp"
#include "operations/resize_disk.hpp"

namespace qimg {

Result<void> amend(const AmendOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = Access::read_write;
    const auto image = TRY(Image::open(options.path, open, opener));
    auto* const format = dynamic_cast<qcow2::Qcow2*>(&image->format());
    if (format == nullptr) {
        return failf(ErrorKind::unsupported, "Format driver '{}' does not support option amendment",
                     image->format_name());
    }
    const std::uint64_t size = options.size.value_or(image->size());
    TRY(qcow2::check_amendment(*format, options.qcow2));
    if (!is_aligned(size, sector_bytes)) {
        return fail(ErrorKind::invalid_argument, "The new size must be a multiple of 512");
    }
    const bool downgrades =
        options.qcow2.version.value_or(format->header().version) < format->header().version;
    if (!downgrades) TRY(qcow2::amend(*format, options.qcow2, progress));
    if (size != image->size()) TRY(resize_disk(*image, *format, size, Preallocation::off, progress));
    if (downgrades) TRY(qcow2::amend(*format, options.qcow2, progress));
    return {};
}

}  // namespace qimg
