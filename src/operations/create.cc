// New images of any format we write, and overlays.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/create.hpp"

#include <unistd.h>

#include <filesystem>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/create.hpp"
#include "image/opener.hpp"

namespace qimg {

namespace {

Result<void> create_raw(const CreateOptions& options, std::uint64_t size) {
    const auto file = TRY(create_file(options.path));
    TRY(file->resize(size));
    const HostRange all(HostOffset(0), size);
    switch (options.preallocation) {
        case Preallocation::off:
            break;
        case Preallocation::metadata:
            return fail(ErrorKind::invalid_argument, "Unsupported preallocation mode: metadata");
        case Preallocation::falloc:
            TRY(file->allocate(all));
            break;
        case Preallocation::full:
            TRY(write_plain_zeroes(*file, all));
            break;
    }
    return file->commit();
}

// The data file is an ordinary raw file; one that is there already is taken as it is and made long enough.
Result<void> create_data_file(const CreateOptions& options, std::uint64_t size) {
    const std::string path = resolve_reference(options.path, *options.qcow2.data_file);
    auto existing = open_file(path, FileOptions{Access::read_write, Locking::qemu});
    if (existing) {
        const std::uint64_t bytes = TRY((*existing)->size());
        return bytes < size ? (*existing)->resize(size) : Result<void>();
    }
    if (existing.error().kind != ErrorKind::not_found) return std::unexpected<Error>(existing.error());
    const auto file = TRY(create_file(path));
    TRY(file->resize(size));
    return file->commit();
}

// Opens the file in the making once more, as an image. It is nobody else's, so it needs no locks and no order.
Result<void> preallocate_new(NewFile& file, const CreateOptions& options, std::uint64_t size,
                             Preallocation preallocation, Opener& opener, Progress& progress) {
    qcow2::Qcow2Options details;
    details.writable = true;
    details.ordered = false;
    details.open_data_file = [&](const std::string& name) {
        return opener.open_reference(resolve_reference(options.path, name), FileOptions{Access::read_write, Locking::qemu});
    };
    const auto image = TRY(qcow2::Qcow2::open(borrow_storage(file), details));
    TRY(qcow2::preallocate(*image, GuestRange(GuestOffset(0), size), preallocation, progress));
    return image->flush();
}

Result<void> create_qcow2(const CreateOptions& options, std::uint64_t size, Opener& opener, Progress& progress) {
    // a raw data file is read without the tables, so they have to say from the start what it holds
    const Preallocation preallocation =
        options.qcow2.data_file_raw && options.preallocation == Preallocation::off ? Preallocation::metadata
                                                                                   : options.preallocation;
    TRY(qcow2::check_layout(options.qcow2, size, options.preallocation));
    if (options.qcow2.data_file) TRY(create_data_file(options, size));
    const auto file = TRY(create_file(options.path));
    TRY(qcow2::create_empty(*file, options.qcow2, size));
    if (preallocation != Preallocation::off) {
        TRY(preallocate_new(*file, options, size, preallocation, opener, progress));
    }
    return file->commit();
}

// How an overlay names its base: relative when the base lies in the overlay's folder or below it, so that the
// folder can move; absolute otherwise.
std::string name_of_base(const std::string& base, const std::string& overlay) {
    std::error_code failed;
    const auto base_path = std::filesystem::canonical(base, failed);
    if (failed) return base;
    const auto folder = std::filesystem::canonical(std::filesystem::absolute(overlay, failed).parent_path(), failed);
    if (failed) return base_path.string();
    const auto relative = base_path.lexically_relative(folder);
    return relative.empty() || *relative.begin() == ".." ? base_path.string() : relative.string();
}

// The virtual size of the backing file, which also proves that it can be opened.
Result<std::uint64_t> backing_size(const CreateOptions& options, Opener& opener) {
    OpenOptions open;
    open.format = options.qcow2.backing_format;
    const std::string path = resolve_reference(options.path, *options.qcow2.backing_file);
    const auto image = TRY(Image::open(path, open, opener));
    return image->size();
}

}  // namespace

Result<CreateReport> create(const CreateOptions& options, Opener& opener, Progress& progress) {
    std::optional<std::uint64_t> size = options.size;
    const bool has_backing = options.qcow2.backing_file.has_value();
    if (has_backing && options.format != "qcow2") {
        return failf(ErrorKind::invalid_argument, "Backing file not supported for file format '{}'", options.format);
    }
    if (has_backing && (options.check_backing || !size)) {
        const std::uint64_t below = TRY(backing_size(options, opener));
        if (!size) size = below;
    }
    if (!size) return fail(ErrorKind::invalid_argument, "Image creation needs a size parameter");
    if (*size > 1ull << 62) return fail(ErrorKind::invalid_argument, "Image size must be less than 8 EiB!");
    const std::uint64_t rounded = round_up(*size, sector_bytes);
    if (options.format == "raw") {
        TRY(create_raw(options, rounded));
    } else if (options.format == "qcow2") {
        TRY(create_qcow2(options, rounded, opener, progress));
    } else {
        return failf(ErrorKind::invalid_argument, "Unknown file format '{}'", printable(options.format));
    }
    return CreateReport{rounded};
}

Result<SnapReport> snap(const SnapOptions& options, Opener& opener) {
    if (::access(options.overlay.c_str(), F_OK) == 0) {
        return failf(ErrorKind::exists, "{}: exists already; remove it first, or choose another name",
                     printable(options.overlay));
    }
    OpenOptions open;
    open.format = options.base_format;
    const auto base = TRY(Image::open(options.base, open, opener));

    CreateOptions made;
    made.path = options.overlay;
    made.format = "qcow2";
    made.size = base->size();
    if (options.size) {
        made.size = options.size->apply(base->size());
        if (!made.size) {
            return failf(ErrorKind::invalid_argument, "{}: the base has {} bytes; the overlay's size would be below 0 or too large",
                         printable(options.overlay), base->size());
        }
    }
    if (base->format().name() == "qcow2") made.qcow2.cluster_bytes = base->format().cluster_bytes();
    made.qcow2.backing_format = std::string(base->format().name());
    made.qcow2.backing_file = name_of_base(options.base, options.overlay);
    made.check_backing = false;
    const CreateReport report = TRY(create(made, opener));
    return SnapReport{report.size, *made.qcow2.backing_format, *made.qcow2.backing_file};
}

}  // namespace qimg
