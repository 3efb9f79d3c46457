// Rebasing: what the new chain lacks goes into the overlay first, then the header names the new backing image.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/rebase.hpp"

#include <vector>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/header_rewrite.hpp"
#include "format/qcow2/qcow2.hpp"
#include "image/opener.hpp"
#include "operations/chain_differences.hpp"
#include "operations/pin.hpp"
#include "operations/same_file.hpp"

namespace qimg {

namespace {

std::string name_of(const RebaseOptions& options) {
    return options.backing ? printable(options.backing->name) : std::string();
}

std::unexpected<Error> fail_to_change(const RebaseOptions& options, ErrorKind kind, std::string_view why,
                                      std::string detail) {
    return fail_detailed(kind,
                         fmt::format("Could not change the backing file to '{}': {}", name_of(options), why),
                         std::move(detail));
}

Result<std::unique_ptr<Image>> open_new_backing(const RebaseOptions& options, Opener& opener) {
    if (!options.backing || options.unsafe) return std::unique_ptr<Image>();
    std::vector<std::string> above;
    auto image = open_chain(options.backing->location, opener, above);
    if (!image) {
        image.error().message =
            fmt::format("Could not open new backing file '{}': {}", name_of(options), image.error().message);
        return image;
    }
    for (const Image* layer = image->get(); layer != nullptr; layer = layer->backing()) {
        if (is_same_file(layer->path(), options.path)) {
            return failf(ErrorKind::invalid_argument, "Backing file '{}' creates an infinite loop.",
                         name_of(options));
        }
    }
    return image;
}

// What can be told before anything is copied.
Result<qcow2::Qcow2*> check_can_change(Image& image, const RebaseOptions& options) {
    auto* format = dynamic_cast<qcow2::Qcow2*>(&image.format());
    if (format == nullptr && options.compress) {
        return fail(ErrorKind::unsupported, "Compression not supported for this file format");
    }
    if (format == nullptr) {
        return fail_to_change(options, ErrorKind::unsupported, "Operation not supported",
                              fmt::format("{} images have no backing file", image.format_name()));
    }
    if (!options.backing) return format;
    if (!options.backing->format) {
        return fail_to_change(options, ErrorKind::invalid_argument, "backing format must be specified", "");
    }
    if (options.backing->name.size() > qcow2::backing_name_bytes_max) {
        return fail_to_change(options, ErrorKind::invalid_argument, "Invalid argument",
                              fmt::format("names have at most {} bytes", qcow2::backing_name_bytes_max));
    }
    if (format->header().data_file_raw()) {
        return fail_to_change(options, ErrorKind::invalid_argument, "Invalid argument",
                              "an external data file that is raw has everything itself");
    }
    return format;
}

// In memory. Where the new backing image cannot be pinned, there is no pin.
Result<void> renew_pin(qcow2::Header& header, const RebaseOptions& options, const Image* backing,
                       Opener& opener, Progress& progress) {
    set_pin(header, std::nullopt);
    if (options.pin == PinMode::none || !options.backing) return {};
    std::unique_ptr<Image> opened;
    if (backing == nullptr) {
        opened = open_to_pin(options.backing->location, options.pin, opener);
        backing = opened.get();
    }
    if (backing == nullptr) return {};
    const auto pin = TRY(pin_if_whole(*backing, options.pin, progress));
    set_pin(header, pin);
    return {};
}

Result<void> record_backing(qcow2::Qcow2& format, const RebaseOptions& options) {
    qcow2::Header& header = format.header();
    header.backing_file.reset();
    std::string backing_format;
    if (options.backing) {
        header.backing_file = options.backing->name;
        backing_format = options.backing->format.value_or("");
    }
    header.set_text_extension(qcow2::disk::extension_backing_format, backing_format);
    header.autoclear &= qcow2::disk::autoclear_known;
    const auto written = rewrite_pinned_header(format);
    if (!qcow2::is_header_full(written)) return written;
    return fail_to_change(options, ErrorKind::no_space, "No space left in the file header",
                          written.error().message);
}

}  // namespace

Result<RebaseReport> rebase(const RebaseOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = Access::read_write;
    open.with_backing = open.with_backing && !options.unsafe;
    const auto image = TRY(Image::open(options.path, open, opener));
    const auto backing = TRY(open_new_backing(options, opener));
    qcow2::Qcow2* const format = TRY(check_can_change(*image, options));
    if (options.before_change) TRY(options.before_change());
    format->keep_bitmaps();
    RebaseReport report;
    if (!options.unsafe) {
        report.bytes_copied = TRY(keep_differences(*image, backing.get(), options.compress, progress));
        TRY(image->flush());
    }
    TRY(renew_pin(format->header(), options, backing.get(), opener, progress));
    TRY(record_backing(*format, options));
    progress.update(image->size(), image->size());
    return report;
}

}  // namespace qimg
