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

constexpr std::uint64_t writeback_unit = 64 * KiB;  // pages of the last one may be written to again
constexpr std::uint64_t copy_bytes_max = MiB;

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
            std::min(options.sparse_bytes & (~options.sparse_bytes + 1), Plan::window_bytes_max);
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

Storage* Target::shares_blocks(const ConvertOptions& options) const {
    const Preallocation preallocation = options.target.preallocation;
    const bool has_own_space = preallocation == Preallocation::falloc || preallocation == Preallocation::full;
    // clusters that are smaller than a file system's blocks have to be copied
    const Format& format = image_->format();
    const bool fits = format.cluster_bytes() == 1 || format.cluster_bytes() >= shared_unit;
    if (!options.share_blocks || compresses_ || options.salvage || !files_.image || has_own_space || !fits)
        return nullptr;
    return &image_->format().data_storage();
}

Result<void> Target::place(Work& work) {
    for (const Run& run : work.runs) {
        const auto placed = place_run(work, run);
        if (!placed) return fail_at("writing", run.range.start, placed.error());
    }
    return {};
}

Result<void> Target::place_run(Work& work, const Run& run) {
    Format& format = image_->format();
    const auto stream = std::span(work.compressed).subspan(run.first, run.bytes);
    switch (run.kind) {
        case RunKind::zero:
            return reads_as_zero_ ? Result<void>() : image_->write_zeroes(run.range, Zeroing::own);
        case RunKind::compressed: {
            if (!files_.image) return format.write_compressed(run.range.start, stream);
            const HostOffset host = TRY(format.publish_compressed(run.range.start, stream.size()));
            return put(work, PlacedBytes{run.range.start, host, stream});
        }
        case RunKind::data:
        case RunKind::share:
            break;
    }
    return place_data(work, run);
}

// The run is made of whole units, so nothing old has to be kept around it.
Result<void> Target::place_data(Work& work, const Run& run) {
    Format& format = image_->format();
    GuestRange range = run.range;
    TRY(format.prepare_writing(range));
    while (!range.empty()) {
        bool is_published = false;
        const Reservation place = TRY(find_space(range, is_published));
        space_end_ = std::max(space_end_, place.host + place.cover.length);
        if (const auto filled = fill(work, run, place); !filled) {
            if (!is_published) format.cancel(place);
            return filled;
        }
        if (!is_published) TRY(format.publish(place));
        range = GuestRange::between(std::min(place.cover.end(), range.end()), range.end());
    }
    return {};
}

Result<Reservation> Target::find_space(GuestRange range, bool& is_published) {
    Format& format = image_->format();
    // a format that allocates nothing has a place for all of it, and need not look at its file for that
    if (format.cluster_bytes() == 1) return format.reserve(range);
    const Mapping mapping = TRY(format.map(range));
    is_published = mapping.in_place;
    if (is_published) return Reservation{mapping.range, *mapping.host, false};
    return format.reserve(mapping.range);
}

// Where the space reads as zeroes already, only what is not zero is written.
Result<void> Target::fill(Work& work, const Run& run, const Reservation& place) const {
    if (run.kind == RunKind::share) {
        const GuestRange part = intersection(place.cover, run.range);
        work.shared.push_back(
            PlacedShare{part.start, place.host, run.from,
                        HostRange(run.from_host + (part.start - run.range.start), part.length)});
        return {};
    }
    const auto put_part = [&](GuestRange part) {
        return put(work, PlacedBytes{part.start, place.host + (part.start - place.cover.start),
                                     bytes_of(work, part)});
    };
    // a last cluster that the disk's end cuts short is in the buffer with zeroes behind the end
    if (!space_is_zero_) return put_part(place.cover);
    auto next = std::upper_bound(work.non_zero.begin(), work.non_zero.end(), place.cover.start,
                                 [](GuestOffset at, const GuestRange& range) { return at < range.end(); });
    for (; next != work.non_zero.end() && next->start < place.cover.end(); ++next) {
        TRY(put_part(intersection(*next, place.cover)));
    }
    return {};
}

// At once where others see the image; else later, together with what lies beside it in both places.
Result<void> Target::put(Work& work, const PlacedBytes& part) const {
    if (!files_.image) return image_->format().data_storage().write(part.host, part.bytes);
    if (!work.placed.empty()) {
        PlacedBytes& last = work.placed.back();
        const bool joins = last.host + last.bytes.size() == part.host &&
                           last.bytes.data() + last.bytes.size() == part.bytes.data();
        if (joins) {
            last.bytes = std::span(last.bytes.data(), last.bytes.size() + part.bytes.size());
            return {};
        }
    }
    work.placed.push_back(part);
    return {};
}

Result<void> Target::write(const Work& work) const {
    Storage& storage = image_->format().data_storage();
    HostOffset first(~std::uint64_t{0});
    HostOffset end;
    for (const PlacedBytes& part : work.placed) {
        const auto written = storage.write(part.host, part.bytes);
        if (!written) return fail_at("writing", part.at, written.error());
        first = std::min(first, part.host);
        end = std::max(end, part.host + part.bytes.size());
    }
    for (const PlacedShare& part : work.shared) {
        const auto shared = share(part);
        if (!shared) return fail_at("writing", part.at, shared.error());
    }
    // the disk works while the next windows are read; a piece that the next window goes on with can wait for that
    const HostOffset from(round_down(first.bytes, writeback_unit));
    const HostOffset to(round_down(end.bytes, writeback_unit));
    if (from < to) storage.start_writeback(HostRange::between(from, to));
    return {};
}

// A part that cannot be shared after all is copied.
Result<void> Target::share(const PlacedShare& part) const {
    Storage& storage = image_->format().data_storage();
    const bool is_shared = TRY(share_blocks(*part.from, part.from_host, storage, part.host));
    if (is_shared) return {};
    Bytes buffer(std::min(part.from_host.length, copy_bytes_max));
    for (std::uint64_t done = 0; done < part.from_host.length; done += buffer.size()) {
        const auto step =
            std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), part.from_host.length - done));
        TRY(part.from->read(part.from_host.start + done, step));
        TRY(storage.write(part.host + done, step));
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
