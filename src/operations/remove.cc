// Removing: the locks are taken as for writing, and held until the name is gone.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/remove.hpp"

#include <filesystem>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/header.hpp"
#include "image/opener.hpp"
#include "storage/redo_log.hpp"
#include "storage/remove_file.hpp"

namespace qimg {

namespace {

namespace fs = std::filesystem;

// Who reads an image forbids others to write to it, so who may write knows that nobody does either.
Result<std::unique_ptr<Storage>> claim(const RemoveOptions& options, Opener& opener) {
    std::error_code unknown;
    if (fs::is_block_file(options.path, unknown)) {
        return failf(ErrorKind::invalid_argument, "{}: a device, which cannot be removed",
                     printable(options.path));
    }
    auto file = opener.open(options.path, {Access::read_write, Locking::qemu});
    const bool is_protected =
        !file && (file.error().kind == ErrorKind::read_only || file.error().system_errno == EACCES);
    if (!is_protected) return file;
    if (options.write_protected) return opener.open(options.path, {Access::read_only, Locking::qemu});
    return failf(ErrorKind::read_only, "{}: write-protected; use --force to remove it all the same",
                 printable(options.path));
}

// The data file that the image names, opened as the image itself is.
Result<std::unique_ptr<Storage>> claim_data_file(const std::string& path, const Storage& image,
                                                 Opener& opener, RemoveReport& report) {
    const std::string format = TRY(probe_format(image));
    if (format != "qcow2") return nullptr;
    const qcow2::Header header = TRY(qcow2::read_header(image));
    const auto name = header.text_extension(qcow2::disk::extension_data_file);
    if (!header.has_data_file() || !name) return nullptr;
    report.data_file = resolve_reference(path, *name);
    return opener.open_reference(path, *report.data_file, {Access::read_write, Locking::qemu});
}

}  // namespace

Result<RemoveReport> remove_image(const RemoveOptions& options, Opener& opener) {
    RemoveReport report;
    const auto image = TRY(claim(options, opener));
    std::unique_ptr<Storage> data_file;
    if (options.data_file) data_file = TRY(claim_data_file(options.path, *image, opener, report));
    // of a link, only the link goes
    std::error_code unknown;
    const bool has_log = !fs::is_symlink(options.path, unknown) && has_redo_log(options.path, *image);
    // the image first: without it the data file is an ordinary file, the other way round nothing is left
    TRY(remove_file(options.path));
    // changes that nobody can finish any more
    if (has_log) TRY(remove_file(redo_log_name(options.path)));
    if (data_file) TRY(remove_file(*report.data_file));
    return report;
}

}  // namespace qimg
