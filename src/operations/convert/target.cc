// Creating or opening the target, and writing runs to it.
// SPDX-License-Identifier: Apache-2.0
#include "operations/convert/target.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "format/qcow2/qcow2.hpp"
#include "image/opener.hpp"

namespace qimg {

namespace {

std::span<const std::byte> bytes_of(const Work& work, GuestRange range) {
    return std::span(work.data).subspan(range.start - work.window.range.start, range.length);
}

Result<std::unique_ptr<Image>> open_base(const CreateOptions& options, Opener& opener) {
    OpenOptions open;
    open.format = options.qcow2.backing_format;
    const std::string path = resolve_reference(options.path, *options.qcow2.backing_file);
    auto base = Image::open(path, open, opener);
    if (!base) {
        std::string& message = base.error().message;
        const std::string prefix = fmt::format("Could not open '{}': ", printable(path));
        if (message.starts_with(prefix)) message.erase(0, prefix.size());
        message = fmt::format("Could not open '{}': Could not open backing file: {}", printable(options.path),
                              message);
    }
    return base;
}

Result<NewImage> begin(const ConvertOptions& options, std::uint64_t size, Opener& opener,
                       Progress& progress) {
    const CreateOptions& target = options.target;
    auto made = begin_image(target, size, opener, progress);
    if (!made) {
        const std::string words = options.creation_words.empty()
                                      ? fmt::format("error while converting {}", target.format)
                                      : options.creation_words;
        made.error().message = fmt::format("{}: {}: {}", printable(target.path), words, made.error().message);
    }
    return made;
}

}  // namespace

Result<Target> Target::open(const ConvertOptions& options, std::uint64_t size, Opener& opener,
                            Progress& progress) {
    const auto finish = [&](Target target, bool reads_as_zero) -> Result<Target> {
        const Format& format = target.image_->format();
        // a vmdk image has compressed grains only, or none at all: QEMU makes no error of that
        if (options.compress && !target.codec() && format.name() != "vmdk") {
            return fail(ErrorKind::unsupported, "Compression not supported for this file format");
        }
        // data comes in multiples of the hole size, so that no shorter holes are left between them
        const std::uint64_t hole =
            std::min(options.sparse_bytes & (~options.sparse_bytes + 1), Plan::window_bytes);
        target.compresses_ = target.codec() && (options.compress || format.only_compressed());
        target.unit_ = target.compresses_ ? format.cluster_bytes()
                                          : std::max({format.subcluster_bytes(), hole, sector_bytes});
        target.reads_as_zero_ = reads_as_zero;
        return target;
    };
    if (options.existing_target) {
        OpenOptions open;
        open.format = options.target.format;
        open.access = Access::read_write;
        auto image = TRY(Image::open(options.target.path, open, opener));
        if (image->size() < size)
            return fail(ErrorKind::invalid_argument, "output file is smaller than input file");
        if (options.target_is_zero && image->backing() != nullptr) {
            return fail(ErrorKind::invalid_argument,
                        "Cannot use --target-is-zero when the destination image has a backing file");
        }
        return finish(Target(std::move(image), NewFiles()), options.target_is_zero);
    }
    const bool has_base = options.target.qcow2.backing_file.has_value();
    if (has_base && options.target.format != "qcow2") {
        return failf(ErrorKind::invalid_argument, "Backing file not supported for file format '{}'",
                     options.target.format);
    }
    std::unique_ptr<Image> base;
    if (has_base) base = TRY(open_base(options.target, opener));
    NewImage made = TRY(begin(options, size, opener, progress));
    auto image = std::make_unique<Image>(options.target.path, std::move(made.format), std::move(base));
    const bool over_base = image->backing() != nullptr;
    Target target(std::move(image), std::move(made.files));
    target.space_is_zero_ = made.space_is_zero;
    return finish(std::move(target), made.space_is_zero && !over_base);
}

Result<void> Target::write(const Work& work) {
    for (const Run& run : work.runs) {
        const auto written = write_run(work, run);
        if (!written) return fail_at("writing", run.range.start, written.error());
    }
    return {};
}

Result<void> Target::write_run(const Work& work, const Run& run) {
    switch (run.kind) {
        case RunKind::zero:
            return reads_as_zero_ ? Result<void>() : image_->write_zeroes(run.range, Zeroing::own);
        case RunKind::compressed:
            return image_->format().write_compressed(
                run.range.start, std::span(work.compressed).subspan(run.first, run.bytes));
        case RunKind::data:
            break;
    }
    return write_data(work, run.range);
}

// The run is made of whole units, so nothing old has to be kept around it.
Result<void> Target::write_data(const Work& work, GuestRange range) {
    Format& format = image_->format();
    TRY(format.prepare_writing(range));
    while (!range.empty()) {
        const Mapping mapping = TRY(format.map(range));
        Reservation place{mapping.range, mapping.host.value_or(HostOffset(0)), false};
        if (!mapping.in_place) place = TRY(format.reserve(mapping.range));
        space_end_ = std::max(space_end_, place.host + place.cover.length);
        if (const auto filled = fill(work, place); !filled) {
            if (!mapping.in_place) format.cancel(place);
            return filled;
        }
        if (!mapping.in_place) TRY(format.publish(place));
        range = GuestRange::between(place.cover.end(), range.end());
    }
    return {};
}

// Where the space reads as zeroes already, only what is not zero is written.
Result<void> Target::fill(const Work& work, const Reservation& place) const {
    Storage& storage = image_->format().data_storage();
    const auto put = [&](GuestRange part) {
        return storage.write(place.host + (part.start - place.cover.start), bytes_of(work, part));
    };
    // a last cluster that the disk's end cuts short is in the buffer with zeroes behind the end
    if (!space_is_zero_) return put(place.cover);
    auto next = std::upper_bound(work.non_zero.begin(), work.non_zero.end(), place.cover.start,
                                 [](GuestOffset at, const GuestRange& range) { return at < range.end(); });
    for (; next != work.non_zero.end() && next->start < place.cover.end(); ++next) {
        TRY(put(intersection(*next, place.cover)));
    }
    return {};
}

// Zeroes that were not written may be the last that there are: the file has to hold them all the same, or its
// tables lead past its end.
Result<void> Target::reach_space_end() {
    Storage& file = image_->format().data_storage();
    const std::uint64_t bytes = TRY(file.size());
    return bytes < space_end_.bytes ? file.resize(space_end_.bytes) : Result<void>();
}

Result<void> Target::finish() {
    TRY(reach_space_end());
    TRY(image_->flush());
    return files_.image ? files_.commit() : Result<void>();
}

}  // namespace qimg
