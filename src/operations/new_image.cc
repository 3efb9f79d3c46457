// Laying out images that have no name yet.
// SPDX-License-Identifier: Apache-2.0
#include "operations/new_image.hpp"

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/create.hpp"
#include "format/raw/raw.hpp"
#include "format/vmdk/create.hpp"
#include "format/vmdk/vmdk.hpp"
#include "image/opener.hpp"
#include "operations/pin.hpp"

namespace qimg {

namespace {

constexpr std::uint64_t first_block_bytes = 4 * KiB;

Result<void> lay_out_raw(NewFile& file, std::uint64_t size, Preallocation preallocation) {
    TRY(file.resize(size));
    const HostRange all(HostOffset(0), size);
    switch (preallocation) {
        case Preallocation::off:
            // as QEMU does: with a first block in place, programs can find out how the file has to be aligned
            return write_plain_zeroes(file, intersection(all, HostRange(HostOffset(0), first_block_bytes)));
        case Preallocation::metadata:
            return fail(ErrorKind::invalid_argument, "Unsupported preallocation mode: metadata");
        case Preallocation::falloc:
            return file.allocate(all);
        case Preallocation::full:
            return write_plain_zeroes(file, all);
    }
    return {};
}

// What is lost when a data file is made: nothing, or something that the caller agreed to.
Result<void> check_old_data_file(const std::string& path, bool may_be_lost) {
    const auto file = open_file(path, FileOptions{Access::read_write, Locking::qemu});
    if (!file && file.error().kind == ErrorKind::not_found) return {};
    if (!file) return std::unexpected<Error>(file.error());
    const std::uint64_t bytes = TRY((*file)->size());
    if (bytes == 0 || may_be_lost) return {};
    return failf(ErrorKind::exists, "{}: the data file exists already, and holds something", printable(path));
}

Result<std::unique_ptr<NewFile>> begin_data_file(const CreateOptions& options) {
    const std::string path = resolve_reference(options.path, *options.qcow2.data_file);
    TRY(check_old_data_file(path, options.replace_data_file));
    return create_file(path);
}

// The data file is an ordinary raw file of zeroes; true when it reads as such. A device is not replaced by a
// new file, so it may hold anything.
Result<bool> lay_out_data_file(NewFile& file, std::uint64_t size) {
    const std::uint64_t bytes_before = TRY(file.size());
    TRY(file.resize(size));
    return bytes_before == 0;
}

// The files in the making as an image. They are nobody else's, so it needs no locks and no order of writes.
Result<std::unique_ptr<qcow2::Qcow2>> open_unnamed(const NewFiles& files, const CreateOptions& options) {
    qcow2::Qcow2Options details;
    details.writable = true;
    details.ordered = false;
    details.with_guest_data = !options.qcow2.is_encrypted;
    details.open_data_file = [&](const std::optional<std::string>&) -> Result<std::unique_ptr<Storage>> {
        return borrow_storage(*files.data);
    };
    return qcow2::Qcow2::open(borrow_storage(*files.image), details);
}

Result<NewImage> begin_raw(const CreateOptions& options, std::uint64_t size) {
    NewImage made;
    made.files.image = TRY(create_file(options.path));
    // only a block device has bytes before anything was written
    const std::uint64_t bytes_before = TRY(made.files.image->size());
    made.space_is_zero = bytes_before == 0;
    TRY(lay_out_raw(*made.files.image, size, options.preallocation));
    made.format = TRY(raw::open(borrow_storage(*made.files.image)));
    return made;
}

Result<NewImage> begin_qcow2(const CreateOptions& options, std::uint64_t size, Opener& opener,
                             Progress& progress) {
    TRY(qcow2::check_layout(options.qcow2, size, options.preallocation));
    NewImage made;
    bool data_is_zero = true;
    if (options.qcow2.data_file) {
        made.files.data = TRY(begin_data_file(options));
        data_is_zero = TRY(lay_out_data_file(*made.files.data, size));
    }
    made.files.image = TRY(create_file(options.path));
    const std::uint64_t bytes_before = TRY(made.files.image->size());
    made.space_is_zero = data_is_zero && bytes_before == 0;
    TRY(qcow2::create_empty(*made.files.image, options.qcow2, size));
    auto image = TRY(open_unnamed(made.files, options));
    if (options.qcow2.backing_file) {
        ImageLocation base{resolve_reference(options.path, *options.qcow2.backing_file), {}};
        base.open.format = options.qcow2.backing_format;
        TRY(pin_base(*image, base, options.pin, opener, progress));
    }
    // a raw data file is read without the tables, so they have to say from the start what it holds
    const bool tables_first = options.qcow2.data_file_raw && options.preallocation == Preallocation::off;
    const Preallocation preallocation = tables_first ? Preallocation::metadata : options.preallocation;
    if (preallocation != Preallocation::off) {
        TRY(qcow2::preallocate(*image, GuestRange(GuestOffset(0), size), preallocation, progress));
    }
    if (preallocation == Preallocation::falloc || preallocation == Preallocation::full) {
        // the tables, too, so that writing to the disk needs no more space in the file
        const std::uint64_t bytes = TRY(made.files.image->size());
        TRY(made.files.image->allocate(HostRange(HostOffset(0), bytes)));
    }
    made.format = std::move(image);
    return made;
}

Result<NewImage> begin_vmdk(const CreateOptions& options, std::uint64_t size) {
    TRY(vmdk::check_layout(options.vmdk, size));
    NewImage made;
    made.files.image = TRY(create_file(options.path));
    const std::uint64_t bytes_before = TRY(made.files.image->size());
    if (bytes_before != 0) {
        return failf(ErrorKind::unsupported,
                     "{}: a vmdk image grows at the end of its file, which a block device does not",
                     printable(options.path));
    }
    TRY(vmdk::create_empty(*made.files.image, options.vmdk, size,
                           options.path.substr(options.path.rfind('/') + 1)));
    made.format =
        TRY(vmdk::Vmdk::open(borrow_storage(*made.files.image), {.writable = true, .ordered = false}));
    return made;
}

}  // namespace

Result<void> NewFiles::commit() {
    if (data) {
        // nothing is left that could fail between the two names but giving the second one
        TRY(image->flush());
        TRY(data->commit());
    }
    return image->commit();
}

Result<NewImage> begin_image(const CreateOptions& options, std::uint64_t size, Opener& opener,
                             Progress& progress) {
    if (options.format == "raw") return begin_raw(options, size);
    if (options.format == "qcow2") return begin_qcow2(options, size, opener, progress);
    if (options.format == "vmdk") return begin_vmdk(options, size);
    return failf(ErrorKind::invalid_argument, "Unknown file format '{}'", printable(options.format));
}

}  // namespace qimg
