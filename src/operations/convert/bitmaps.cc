// Bitmaps keep their names, granularity and whether they record; those that are in use stay behind.
// SPDX-License-Identifier: Apache-2.0
#include "operations/convert/bitmaps.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg {

namespace {

// Null for an image that can have no bitmaps.
qcow2::Qcow2* bitmap_bearer(Image& image) {
    auto* format = dynamic_cast<qcow2::Qcow2*>(&image.format());
    return format != nullptr && format->header().version >= 3 ? format : nullptr;
}

// QEMU's order: it decides which of several problems is told.
std::vector<BitmapInfo> last_first(const qcow2::BitmapEditor& bitmaps) {
    std::vector<BitmapInfo> infos = bitmaps.list();
    std::ranges::reverse(infos);
    return infos;
}

Result<void> copy_one(qcow2::BitmapEditor& from, qcow2::BitmapEditor& to, const BitmapInfo& bitmap) {
    const auto fail_as = [&](std::string_view doing, Error error) {
        error.message =
            fmt::format("Failed to {} bitmap {}: {}", doing, printable(bitmap.name), error.message);
        return std::unexpected<Error>(std::move(error));
    };
    const auto added = to.add(bitmap.name, bitmap.granularity_bytes, bitmap.automatic);
    if (!added) return fail_as("create", added.error());
    const auto merged = to.merge(bitmap.name, from, bitmap.name);
    if (merged) return {};
    TRY(to.remove(bitmap.name));
    return fail_as("populate", merged.error());
}

}  // namespace

Result<std::vector<std::string>> check_bitmaps(const Source& source, const ConvertOptions& options) {
    if (options.sources.size() > 1) {
        return fail(ErrorKind::invalid_argument, "Copying bitmaps only possible with single source");
    }
    qcow2::Qcow2* const format = bitmap_bearer(source.first());
    if (format == nullptr) return fail(ErrorKind::unsupported, "Source lacks bitmap support");
    const auto bitmaps = TRY(qcow2::BitmapEditor::read(*format));
    std::vector<std::string> skipped;
    for (const BitmapInfo& bitmap : last_first(bitmaps)) {
        if (!bitmap.in_use) continue;
        if (!options.skip_broken_bitmaps) {
            return failf(ErrorKind::corrupt,
                         "Cannot copy inconsistent bitmap '{}'\n"
                         "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
                         printable(bitmap.name));
        }
        skipped.push_back(bitmap.name);
    }
    return skipped;
}

Result<void> check_takes_bitmaps(Image& target) {
    if (bitmap_bearer(target) != nullptr) return {};
    return failf(ErrorKind::unsupported, "Format driver '{}' does not support bitmaps", target.format_name());
}

Result<void> copy_bitmaps(const Source& source, Image& target) {
    auto from = TRY(qcow2::BitmapEditor::read(*bitmap_bearer(source.first())));
    auto to = TRY(qcow2::BitmapEditor::open(*bitmap_bearer(target)));
    Result<void> copied;
    for (const BitmapInfo& bitmap : last_first(from)) {
        if (!bitmap.in_use) copied = copy_one(from, to, bitmap);
        if (!copied) break;
    }
    TRY(to.store());
    return copied;
}

}  // namespace qimg
