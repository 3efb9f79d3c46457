// The images to convert as one disk.
// SPDX-License-Identifier: Apache-2.0
#include "operations/convert/source.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "operations/cluster_sizes.hpp"
#include "operations/same_file.hpp"
#include "operations/snapshot_view.hpp"

namespace qimg {

namespace {

std::string extent_failure(GuestOffset at) {
    return fmt::format("error while reading block status at offset {}", at.bytes);
}

std::string why(const Error& cause) {
    return cause.system_errno == 0 ? cause.message : errno_text(cause.system_errno);
}

// The names of the files that one image of a chain is made of.
bool is_made_of(const Image& image, const std::string& path) {
    return is_same_file(image.path(), path) || is_same_file(image.format().data_storage().name(), path);
}

bool fails_on_purpose(const Image& image) {
    return image.assembly() != nullptr && !image.assembly()->guest_faults.empty();
}

}  // namespace

std::unexpected<Error> fail_at(std::string_view doing, GuestOffset at, const Error& cause) {
    const std::string place = fmt::format("error while {} at byte {}: ", doing, at.bytes);
    Error error = cause;
    if (cause.system_errno == 0) {
        error.message = place + cause.message;
    } else {
        error.message = place + errno_text(cause.system_errno);
        error.detail = cause.message;
    }
    return std::unexpected<Error>(std::move(error));
}

Result<Source> Source::open(const ConvertOptions& options, Opener& opener) {
    Source source;
    for (const ImageLocation& wanted : options.sources) {
        auto image = TRY(Image::open(wanted.path, wanted.open, opener));
        if (options.snapshot) TRY(show_snapshot(*image, *options.snapshot));
        const GuestRange whole(GuestOffset(0), image->size());
        const GuestRange shown = options.part ? intersection(whole, *options.part) : whole;
        auto walk = std::make_unique<ExtentWalk>(*image, Holes::all);
        source.parts_.push_back(Part{GuestOffset(source.size_), std::move(image), shown, std::move(walk)});
        source.size_ = source.end_of(source.parts_.back()).bytes;
    }
    return source;
}

const Source::Part& Source::part_at(GuestOffset at) const {
    const auto behind =
        std::upper_bound(parts_.begin(), parts_.end(), at,
                         [](GuestOffset offset, const Part& part) { return offset < part.start; });
    return *std::prev(behind);
}

Result<void> Source::read(GuestOffset at, std::span<std::byte> into) const {
    while (!into.empty() && at.bytes < size_) {
        const Part& part = part_at(at);
        const std::uint64_t inside = at - part.start;
        // what is shown of an image may end within a sector
        const std::uint64_t rest = part.shown.length - std::min(inside, part.shown.length);
        const std::size_t known = std::min<std::uint64_t>(into.size(), rest);
        const auto done =
            known == 0 ? Result<void>() : part.image->read(part.shown.start + inside, into.first(known));
        if (!done) return fail_at("reading", at, done.error());
        const std::size_t step = std::min<std::uint64_t>(into.size(), end_of(part) - at);
        std::fill(into.begin() + static_cast<std::ptrdiff_t>(known),
                  into.begin() + static_cast<std::ptrdiff_t>(step), std::byte{0});
        into = into.subspan(step);
        at += step;
    }
    std::fill(into.begin(), into.end(), std::byte{0});
    return {};
}

Result<SourceExtent> Source::extent(GuestRange range) const {
    SourceExtent found;
    found.range = range;
    if (range.start.bytes >= size_) return found;
    const Part& part = part_at(range.start);
    const std::uint64_t inside = range.start - part.start;
    found.range = intersection(range, GuestRange::between(part.start, end_of(part)));
    if (inside >= part.shown.length) return found;
    const auto walked = part.walk->at(
        GuestRange(part.shown.start + inside, std::min(found.range.length, part.shown.length - inside)));
    if (!walked) {
        Error error = walked.error();
        error.message = fmt::format("{}: {}", extent_failure(range.start), why(walked.error()));
        return std::unexpected<Error>(std::move(error));
    }
    const Extent& extent = walked->extent;
    found.range.length = extent.range.length;
    found.kind = extent.kind;
    found.depth = extent.depth;
    found.host = extent.host;
    found.compressed_bytes = extent.compressed_bytes;
    found.holder = part.image.get();
    found.has_faults = fails_on_purpose(*found.holder);
    for (unsigned depth = 0; depth < extent.depth && found.holder->backing() != nullptr; ++depth) {
        found.holder = found.holder->backing();
        found.has_faults = found.has_faults || fails_on_purpose(*found.holder);
    }
    if (walked->is_hole && !found.has_faults) {
        found.kind = ExtentKind::zeroes;
        found.host.reset();
    }
    return found;
}

void Source::salvage(GuestOffset at, std::span<std::byte> into, std::vector<std::string>& warnings) const {
    const auto done = read(at, into);
    if (done) return;
    if (into.size() <= sector_bytes) {
        std::fill(into.begin(), into.end(), std::byte{0});
        warnings.push_back(fmt::format("error while reading offset {}: {}", at.bytes, why(done.error())));
        return;
    }
    const std::size_t half = round_up(into.size() / 2, sector_bytes);
    salvage(at, into.first(half), warnings);
    salvage(at + half, into.subspan(half), warnings);
}

SourceExtent Source::salvage_extent(GuestRange range, std::vector<std::string>& warnings) const {
    while (true) {
        const auto found = extent(range);
        if (found) return *found;
        if (range.length <= sector_bytes) {
            warnings.push_back(found.error().message);
            SourceExtent unknown;
            unknown.range = range;
            unknown.kind = ExtentKind::data;
            return unknown;
        }
        range.length = round_up(range.length / 2, sector_bytes);
    }
}

std::uint64_t Source::cluster_bytes_max() const {
    std::uint64_t bytes = 0;
    for (const Part& part : parts_)
        bytes = std::max(bytes, largest_cluster_bytes(part.image.get()));
    return bytes;
}

bool Source::uses(const std::string& path) const {
    for (const Part& part : parts_) {
        for (const Image* image = part.image.get(); image != nullptr; image = image->backing()) {
            if (is_made_of(*image, path)) return true;
        }
    }
    return false;
}

std::optional<unsigned> Source::depth_of(const std::string& path) const {
    // only what lies at the same offset in both can be left to it
    if (parts_.size() != 1 || parts_.front().shown.start.bytes != 0) return std::nullopt;
    unsigned depth = 0;
    for (const Image* image = parts_.front().image.get(); image != nullptr;
         image = image->backing(), ++depth) {
        if (is_same_file(image->path(), path)) return depth;
    }
    return std::nullopt;
}

}  // namespace qimg
