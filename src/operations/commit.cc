// Committing: the chain is looked at as it is, then opened again with a base that can be written.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/commit.hpp"

#include <algorithm>
#include <vector>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/empty.hpp"
#include "format/qcow2/qcow2.hpp"
#include "image/opener.hpp"
#include "operations/pin.hpp"
#include "operations/rate_limit.hpp"
#include "operations/same_file.hpp"
#include "qimg/operations/resize.hpp"

namespace qimg {

namespace {

// The most that is read at once, bytes.
constexpr std::uint64_t window_bytes = 4 * MiB;

// What an image is recognised by when its chain is opened again.
struct Identity {
    std::string format;
    std::uint64_t size;
    std::optional<std::string> backing_file;
    friend bool operator==(const Identity&, const Identity&) = default;
};

Identity identity_of(const Image& image) {
    return Identity{std::string(image.format_name()), image.size(), image.format().backing_file()};
}

struct Layer {
    ImageLocation location;
    Identity identity;
};

Layer make_layer(ImageLocation location, const Image& image) {
    location.open.format = std::string(image.format_name());
    location.open.access = Access::read_only;
    return Layer{std::move(location), identity_of(image)};
}

bool is_base(const Image& above, const Image& image, const std::string& name) {
    return above.format().backing_file() == name ||
           is_same_file(resolve_reference(above.path(), name), image.path());
}

// The layers from the overlay down to the base.
Result<std::vector<Layer>> layers_to_base(const Image& top, const CommitOptions& options, Opener& opener) {
    std::vector<Layer> layers{make_layer({options.path, options.open}, top)};
    if (top.backing() == nullptr && !options.base) {
        return fail(ErrorKind::invalid_argument, "Image does not have a backing file");
    }
    for (const Image* above = &top; above->backing() != nullptr; above = above->backing()) {
        auto below = TRY(location_below(layers.back().location, above->format(), opener));
        if (!below) break;
        layers.push_back(make_layer(std::move(*below), *above->backing()));
        if (!options.base || is_base(*above, *above->backing(), *options.base)) return layers;
    }
    return failf(ErrorKind::invalid_argument, "Did not find '{}' in the backing chain of '{}'",
                 printable(options.base.value_or("")), printable(options.path));
}

ImageLocation writable(const Layer& layer) {
    ImageLocation location = layer.location;
    location.open.access = Access::read_write;
    return location;
}

// What came in the way, as qemu-img names it: WHAT, and the system's word for it.
std::unexpected<Error> fail_doing(std::string_view what, const Error& cause) {
    if (cause.kind == ErrorKind::cancelled) return std::unexpected<Error>(cause);
    const std::string why = cause.kind == ErrorKind::unsupported ? "Operation not supported"
                            : cause.system_errno != 0            ? errno_text(cause.system_errno)
                                                                 : cause.message;
    Error error = cause;
    error.message = fmt::format("{}: {}", what, why);
    error.detail = why == cause.message ? "" : cause.message;
    return std::unexpected<Error>(std::move(error));
}

// A base shorter than the overlay cannot take all of it.
Result<void> grow_base(const Layer& layer, std::uint64_t bytes, Opener& opener) {
    ResizeOptions grow;
    grow.path = layer.location.path;
    grow.open = layer.location.open;
    grow.size = SizeChange{SizeChange::Kind::absolute, bytes};
    const auto grown = resize(grow, opener);
    if (!grown) return fail_doing("Block job failed", grown.error());
    return {};
}

Result<std::unique_ptr<Image>> open_base(const std::vector<Layer>& layers, Opener& opener) {
    std::vector<std::string> above;
    for (std::size_t i = 0; i + 1 < layers.size(); ++i)
        above.push_back(layers[i].location.path);
    return open_chain(writable(layers.back()), opener, above);
}

// Takes the overlay's pin of the base that is about to be written to out of its header: a wrong one would remain
// after a crash. One that is wrong already stays. Returns how the base is to be pinned again.
Result<PinMode> suspend_pin(const Layer& overlay, const Image& base, Opener& opener) {
    OpenOptions open = writable(overlay).open;
    open.with_backing = false;
    const auto image = TRY(Image::open(overlay.location.path, open, opener));
    auto* const format = dynamic_cast<qcow2::Qcow2*>(&image->format());
    if (format == nullptr) return PinMode::none;
    const auto pin = pin_in(format->header());
    const PinReport now = TRY(BaseNow(base).compare(format->header(), false, no_progress()));
    if (!pin || now.state != PinState::same) return PinMode::none;
    set_pin(format->header(), std::nullopt);
    TRY(format->rewrite_header());
    return pin->content ? PinMode::full : PinMode::tables;
}

Result<void> renew_pin(Image& overlay, PinMode mode, Progress& progress) {
    if (mode == PinMode::none) return {};
    const qcow2::Pin pin = TRY(take_pin(*overlay.backing(), mode, progress));
    auto& format = dynamic_cast<qcow2::Qcow2&>(overlay.format());
    set_pin(format.header(), pin);
    return rewrite_pinned_header(format);
}

struct WritableChain {
    std::unique_ptr<Image> top;
    PinMode pin = PinMode::none;  // what the overlay lost meanwhile
};

// The chain with base and overlay writable. Nobody guarded it for a moment, so it may have become another one.
Result<WritableChain> open_writable(const std::vector<Layer>& layers, Opener& opener) {
    auto image = TRY(open_base(layers, opener));
    bool is_same = identity_of(*image) == layers.back().identity;
    PinMode pin = PinMode::none;
    if (is_same && layers.size() == 2) pin = TRY(suspend_pin(layers.front(), *image, opener));
    const std::uint64_t size = layers.front().identity.size;
    if (is_same && image->size() < size) {
        image.reset();
        TRY(grow_base(layers.back(), size, opener));
        image = TRY(open_base(layers, opener));
    }
    for (std::size_t i = layers.size() - 1; i-- > 0;) {
        const ImageLocation location = i == 0 ? writable(layers[i]) : layers[i].location;
        std::vector<std::string> above;
        if (i > 0) above.push_back(layers[i - 1].location.path);
        image = TRY(open_over(std::move(image), location, opener, above));
        is_same = is_same && identity_of(*image) == layers[i].identity;
    }
    if (is_same) return WritableChain{std::move(image), pin};
    return failf(ErrorKind::in_use, "{}: another process changed the backing chain; nothing was committed",
                 printable(layers.front().location.path));
}

// Copies what images above the base have.
class Copier {
  public:
    Copier(const Image& top, Image& base, unsigned base_depth)
        : top_(top), base_(base), base_depth_(base_depth) {}

    Result<void> copy(GuestRange range) {
        for (GuestOffset at = range.start; at < range.end();) {
            const Extent extent = TRY(top_.extent(GuestRange::between(at, range.end())));
            at = extent.range.end();
            if (extent.depth >= base_depth_) {
                TRY(finish());
            } else if (extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed) {
                TRY(gather(extent.range));
            } else {
                // "unallocated" is behind the end of an image in between, where the base must not show
                TRY(finish());
                TRY(base_.write_zeroes(extent.range));
            }
        }
        return finish();
    }
    std::uint64_t bytes_copied() const { return bytes_copied_; }

  private:
    // Compressed clusters come one at a time, and extents end where the file has a gap.
    Result<void> gather(GuestRange range) {
        if (gathered_.empty()) gathered_.start = range.start;
        gathered_.length += range.length;
        return {};
    }

    Result<void> finish() {
        const GuestRange range = std::exchange(gathered_, GuestRange());
        if (range.empty()) return {};
        buffer_.resize(std::max<std::size_t>(buffer_.size(), range.length));
        const auto part = std::span(buffer_).first(range.length);
        TRY(top_.read(range.start, part));
        TRY(base_.write(range.start, part));
        bytes_copied_ += range.length;
        return {};
    }

    const Image& top_;
    Image& base_;
    unsigned base_depth_;
    GuestRange gathered_;
    Bytes buffer_;
    std::uint64_t bytes_copied_ = 0;
};

// What is copied is on stable storage afterwards. Returns how many bytes it was.
Result<std::uint64_t> copy_into(const Image& top, Image& base, unsigned base_depth,
                                const CommitOptions& options, Progress& progress) {
    Copier copier(top, base, base_depth);
    const RateLimit limit(options.rate_limit);
    const GuestOffset end(top.size());
    progress.update(0, top.size());
    for (GuestOffset at(0); at < end;) {
        // where nothing is above the base, whole runs of any length are one step
        const Extent extent = TRY(top.extent(GuestRange::between(at, end)));
        GuestRange step = extent.range;
        if (extent.depth < base_depth) step = GuestRange::between(at, std::min(at + window_bytes, end));
        TRY(copier.copy(step));
        at = step.end();
        progress.update(at.bytes, top.size());
        if (progress.cancelled()) {
            return fail(ErrorKind::cancelled, "interrupted; the overlay has everything still");
        }
        limit.wait_after(copier.bytes_copied());
    }
    TRY(base.flush());
    return copier.bytes_copied();
}

Result<void> empty_overlay(Image& top) {
    auto* qcow2 = dynamic_cast<qcow2::Qcow2*>(&top.format());
    if (qcow2 == nullptr) return {};
    qcow2->keep_bitmaps();
    const auto emptied = qcow2::empty(*qcow2);
    if (emptied) return {};
    return fail_doing(fmt::format("Failed to empty {}", printable(top.path())), emptied.error());
}

}  // namespace

Result<CommitBase> find_commit_base(const CommitOptions& options, Opener& opener) {
    const auto top = TRY(Image::open(options.path, options.open, opener));
    const std::vector<Layer> layers = TRY(layers_to_base(*top, options, opener));
    return CommitBase{layers.back().location.path, layers[layers.size() - 2].location.path};
}

Result<CommitReport> commit(const CommitOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = Access::read_write;
    auto looked_at = TRY(Image::open(options.path, open, opener));
    const std::vector<Layer> layers = TRY(layers_to_base(*looked_at, options, opener));
    looked_at.reset();

    const WritableChain chain = TRY(open_writable(layers, opener));
    const auto& top = chain.top;
    Image* base = top.get();
    for (std::size_t i = 1; i < layers.size(); ++i)
        base = base->backing();
    CommitReport report;
    report.base = base->path();
    report.base_size = base->size();
    const auto base_depth = static_cast<unsigned>(layers.size() - 1);
    const auto copied = copy_into(*top, *base, base_depth, options, progress);
    if (!copied) return fail_doing("Block job failed", copied.error());
    report.bytes_copied = *copied;
    if (options.empty && !options.base) TRY(empty_overlay(*top));
    TRY(renew_pin(*top, chain.pin, progress));
    return report;
}

}  // namespace qimg
