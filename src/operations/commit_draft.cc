// By one write of a header where the format has such a thing, else by a log.
// SPDX-License-Identifier: Apache-2.0
#include "operations/commit_draft.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/resize.hpp"
#include "format/qcow2/transaction.hpp"
#include "format/vmdk/vmdk.hpp"
#include "operations/disk_storage.hpp"
#include "operations/resize_disk.hpp"
#include "storage/redo_log.hpp"
#include "storage/remove_file.hpp"

namespace qimg {

namespace {

constexpr std::uint64_t step_bytes = MiB;

bool has_data_file(const Format& format) {
    return &format.storage() != &format.data_storage();
}

bool is_regular_file(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

Result<void> write_log(RedoLogWriter& log, const Storage& file, const guest::Draft& draft) {
    Bytes buffer;
    Bytes old;
    for (const guest::Change& change : draft.changes()) {
        if (change.zeroes) {
            TRY(log.add_zeroes(HostRange(HostOffset(change.start), change.bytes)));
            continue;
        }
        for (std::uint64_t done = 0; done < change.bytes; done += buffer.size()) {
            buffer.resize(std::min(step_bytes, change.bytes - done));
            TRY(draft.read(change.start + done, buffer));
            old.resize(buffer.size());
            TRY(file.read(HostOffset(change.start + done), old));
            TRY(log.add(HostOffset(change.start + done), old, buffer));
        }
    }
    return log.finish();
}

// Once the log counts, what is missing must be possible to do: the file `name`, where guest data is at the guest's
// offsets, has to be able to become so long. `file` is that file or another one in the same place.
Result<void> check_length(Storage& file, const std::string& name, std::uint64_t bytes) {
    const std::uint64_t old = TRY(file.size());
    if (bytes <= old) return {};
    const auto possible = file.resize(bytes);
    if (possible) return file.resize(old);
    return fail_errno(possible.error().system_errno, name, fmt::format("resize to {} bytes", bytes));
}

Result<void> commit_in_place(Image& image, const guest::Draft& draft) {
    const bool is_raw = image.format_name() == "raw";
    DiskStorage disk(image);
    Storage& target = is_raw ? image.format().data_storage() : disk;
    const auto identity = target.identity();
    if (!identity) return fail(ErrorKind::unsupported, "The image is no file, beside which a log could be");
    const std::uint64_t old = TRY(target.size());
    const auto log = TRY(create_file(redo_log_name(image.path())));
    // a raw file's length is the disk's: it must not change for a try
    if (is_raw) TRY(check_length(*log, image.path(), draft.size()));
    Storage& data = image.format().data_storage();
    if (has_data_file(image.format())) TRY(check_length(data, data.name(), draft.size()));
    RedoLogWriter writer(*log, {identity->inode, old, draft.size(), std::string(image.format_name())});
    TRY(write_log(writer, target, draft));
    TRY(log->commit());
    if (auto applied = apply_redo_log(*log, target); !applied) {
        Error error = std::move(applied).error();
        error.hint = "the change is not complete; `qimg expand` finishes it";
        return std::unexpected<Error>(std::move(error));
    }
    return remove_file(redo_log_name(image.path()));
}

// What a raw data file has behind the disk's last cluster would be seen, and a log does not expect it.
Result<void> check_data_file(const qcow2::Qcow2& format, std::uint64_t bytes) {
    if (bytes == format.size()) return {};
    TRY(qcow2::check_can_grow(format, bytes));
    const std::uint64_t held = TRY(format.data_storage().size());
    if (!format.header().data_file_raw() || held <= round_up(format.size(), format.cluster_bytes()))
        return {};
    return fail(
        ErrorKind::unsupported,
        "The data file is longer than the disk; `qimg resize` lets guests see what it has there, then "
        "expand goes on");
}

}  // namespace

Result<void> check_can_take_draft(const Image& image, std::uint64_t bytes) {
    const Format& format = image.format();
    if (const auto* const qcow2 = dynamic_cast<const qcow2::Qcow2*>(&format)) {
        if (!has_data_file(format)) return qcow2::check_can_replace(*qcow2, bytes);
        TRY(check_data_file(*qcow2, bytes));
    }
    if (const auto* const vmdk = dynamic_cast<const vmdk::Vmdk*>(&format)) TRY(vmdk->check_can_grow(bytes));
    const Assembly* const assembly = image.assembly();
    if (assembly != nullptr && (assembly->raw_start != 0 || assembly->raw_bytes))
        return fail(ErrorKind::unsupported, "A part of a file cannot become longer");
    if (image.path().empty() || (assembly == nullptr && !is_regular_file(image.path())))
        return fail(ErrorKind::unsupported, "Only a file can become longer");
    return {};
}

Result<std::unique_ptr<guest::Draft>> open_draft(const Image& image, std::uint64_t bytes) {
    const std::string name = image.path() + ".qimg-draft";
    const auto open_spill = [name]() -> Result<std::unique_ptr<Storage>> {
        std::unique_ptr<Storage> file = TRY(create_file(name));  // which never gets that name
        return file;
    };
    auto draft = std::make_unique<guest::Draft>(image, bytes, open_spill);
    const GuestRange added = GuestRange::between(GuestOffset(image.size()), GuestOffset(bytes));
    const GuestRange exposed = exposed_part(image, added);
    if (!exposed.empty()) TRY(draft->write_zeroes(exposed.start.bytes, exposed.length));
    return draft;
}

Result<void> commit_draft(Image& image, const guest::Draft& draft) {
    TRY(check_can_take_draft(image, draft.size()));
    auto* const format = dynamic_cast<qcow2::Qcow2*>(&image.format());
    if (format == nullptr || has_data_file(*format)) return commit_in_place(image, draft);
    qcow2::NewDisk disk;
    disk.bytes = draft.size();
    for (const guest::Change& change : draft.changes())
        disk.changes.push_back({GuestRange(GuestOffset(change.start), change.bytes), change.zeroes});
    disk.read = [&](GuestOffset at, std::span<std::byte> into) { return draft.read(at.bytes, into); };
    return qcow2::replace_disk(*format, disk);
}

Result<bool> finish_draft(const std::string& path, OpenOptions open, Opener& opener) {
    if (::access(redo_log_name(path).c_str(), F_OK) != 0) return false;
    const auto log = TRY(open_file(redo_log_name(path), {Access::read_only, Locking::share}));
    const RedoTarget target = TRY(read_redo_target(*log));
    open.format = target.format;
    open.access = Access::read_write;
    open.for_finishing = true;
    if (open.format == "raw") {
        const auto file = TRY(opener.open(path, {open.access, open.locking}));
        TRY(apply_redo_log(*log, *file));
    } else {
        const auto image = TRY(Image::open(path, open, opener));
        DiskStorage disk(*image);
        TRY(apply_redo_log(*log, disk));
    }
    TRY(remove_file(redo_log_name(path)));
    return true;
}

bool is_draft_unfinished(const std::string& path) {
    if (::access(redo_log_name(path).c_str(), F_OK) != 0) return false;
    const auto file = open_file(path, {Access::read_only, Locking::share});
    return file && has_redo_log(path, **file);
}

}  // namespace qimg
