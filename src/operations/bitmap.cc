// bitmap: opens the images and has the format's editor take the steps.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/bitmap.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg {

namespace {

// Bitmaps concern one file: its backing image is not opened.
Result<std::unique_ptr<Image>> open_alone(const std::string& path, OpenOptions open, Access access,
                                          Opener& opener) {
    open.access = access;
    open.with_backing = false;
    return Image::open(path, open, opener);
}

std::string_view verb_of(BitmapAction action) {
    switch (action) {
        case BitmapAction::add:
            return "add";
        case BitmapAction::remove:
            return "remove";
        case BitmapAction::remove_all:
            return "remove-all";
        case BitmapAction::clear:
            return "clear";
        case BitmapAction::enable:
            return "enable";
        case BitmapAction::disable:
            return "disable";
        case BitmapAction::merge:
            break;
    }
    return "merge";
}

// Bitmaps of an image, which may be of a format that has none.
using MaybeEditor = std::optional<qcow2::BitmapEditor>;

Result<MaybeEditor> editor_of(Image& image, Access access) {
    auto* format = dynamic_cast<qcow2::Qcow2*>(&image.format());
    if (format == nullptr) return MaybeEditor();
    auto editor =
        access == Access::read_only ? qcow2::BitmapEditor::read(*format) : qcow2::BitmapEditor::open(*format);
    if (!editor) return std::unexpected<Error>(std::move(editor).error());
    return MaybeEditor(std::move(*editor));
}

std::unexpected<Error> not_found(const std::string& name) {
    return failf(ErrorKind::not_found, "Dirty bitmap '{}' not found", printable(name));
}

Result<void> step_without_bitmaps(const BitmapStep& step, const BitmapOptions& options) {
    if (step.action == BitmapAction::remove_all) return {};
    if (step.action != BitmapAction::add) return not_found(options.name);
    return failf(ErrorKind::unsupported, "Can't store persistent bitmaps to {}: Operation not supported",
                 printable(options.path));
}

Result<void> take_step(qcow2::BitmapEditor& bitmaps, MaybeEditor* source, const BitmapStep& step,
                       const BitmapOptions& options) {
    switch (step.action) {
        case BitmapAction::add:
            return bitmaps.add(options.name, options.granularity_bytes, true);
        case BitmapAction::remove:
            return bitmaps.remove(options.name);
        case BitmapAction::remove_all:
            return bitmaps.remove_all();
        case BitmapAction::clear:
            return bitmaps.clear(options.name);
        case BitmapAction::enable:
            return bitmaps.set_recording(options.name, true);
        case BitmapAction::disable:
            return bitmaps.set_recording(options.name, false);
        case BitmapAction::merge:
            break;
    }
    if (source == nullptr) return bitmaps.merge(options.name, bitmaps, step.source);
    if (*source) return bitmaps.merge(options.name, **source, step.source);
    const auto here = bitmaps.list();
    const bool is_here = std::ranges::find(here, options.name, &BitmapInfo::name) != here.end();
    return not_found(is_here ? step.source : options.name);
}

Result<void> take_steps(MaybeEditor& bitmaps, MaybeEditor* source, const BitmapOptions& options) {
    for (const BitmapStep& step : options.steps) {
        auto done =
            bitmaps ? take_step(*bitmaps, source, step, options) : step_without_bitmaps(step, options);
        if (done) continue;
        done.error().message = fmt::format("Operation {} on bitmap {} failed: {}", verb_of(step.action),
                                           printable(options.name), done.error().message);
        return done;
    }
    return {};
}

}  // namespace

Result<void> change_bitmaps(const BitmapOptions& options, Opener& opener) {
    const auto image = TRY(open_alone(options.path, options.open, Access::read_write, opener));
    std::unique_ptr<Image> source_image;
    MaybeEditor source;
    if (options.source) {
        source_image = TRY(open_alone(options.source->path, options.source->open, Access::read_only, opener));
        source = TRY(editor_of(*source_image, Access::read_only));
    }
    MaybeEditor bitmaps = TRY(editor_of(*image, Access::read_write));
    const Result<void> done = take_steps(bitmaps, options.source ? &source : nullptr, options);
    // what could not be read may be half changed in memory; the file is as it was
    if (!done && done.error().kind == ErrorKind::io) return done;
    if (bitmaps) TRY(bitmaps->store_all());
    return done;
}

}  // namespace qimg
