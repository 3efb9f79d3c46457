// New images of any format we write, and overlays.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/create.hpp"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/text.hpp"
#include "base/try.hpp"
#include "image/opener.hpp"
#include "operations/new_image.hpp"

namespace qimg {

namespace {

// How an overlay names its base: relative when the base lies in the overlay's folder or below it, so that the
// folder can move; absolute otherwise.
std::string name_of_base(const std::string& base, const std::string& overlay) {
    std::error_code failed;
    const auto base_path = std::filesystem::canonical(base, failed);
    if (failed) return base;
    const auto folder =
        std::filesystem::canonical(std::filesystem::absolute(overlay, failed).parent_path(), failed);
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
        return failf(ErrorKind::invalid_argument, "Backing file not supported for file format '{}'",
                     options.format);
    }
    if (has_backing && (options.check_backing || !size)) {
        const std::uint64_t below = TRY(backing_size(options, opener));
        if (!size) size = below;
    }
    if (!size) return fail(ErrorKind::invalid_argument, "Image creation needs a size parameter");
    if (*size > 1ull << 62) {
        return fail(
            ErrorKind::no_space,
            fmt::format("The image size is too large for file format '{}'", printable(options.format)),
            EFBIG);
    }
    const std::uint64_t rounded = round_up(*size, sector_bytes);
    NewImage made = TRY(begin_image(options, rounded, opener, progress));
    TRY(made.format->flush());
    TRY(made.files.commit());
    return CreateReport{rounded};
}

Result<SnapReport> snap(const SnapOptions& options, Opener& opener, Progress& progress) {
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
            return failf(ErrorKind::invalid_argument,
                         "{}: the base has {} bytes; the overlay's size would be below 0 or too large",
                         printable(options.overlay), base->size());
        }
    }
    if (base->format().name() == "qcow2") made.qcow2.cluster_bytes = base->format().cluster_bytes();
    made.qcow2.backing_format = std::string(base->format().name());
    made.qcow2.backing_file = name_of_base(options.base, options.overlay);
    made.check_backing = false;
    made.pin = options.pin;
    const CreateReport report = TRY(create(made, opener, progress));
    return SnapReport{report.size, *made.qcow2.backing_format, *made.qcow2.backing_file};
}

}  // namespace qimg
