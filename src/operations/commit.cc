// Committing: the chain is looked at as it is, then opened again with a base that can be written.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/commit.hpp"

#include <algorithm>
#include <thread>
#include <vector>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/empty.hpp"
#include "format/qcow2/qcow2.hpp"
#include "image/opener.hpp"
#include "operations/cluster_sizes.hpp"
#include "operations/crew.hpp"
#include "operations/pin.hpp"
#include "operations/rate_limit.hpp"
#include "operations/same_file.hpp"
#include "qimg/operations/resize.hpp"

namespace qimg {

namespace {

// What is read at once, bytes: so much, or one cluster.
constexpr std::uint64_t window_bytes_min = MiB;
constexpr unsigned extents_per_window = 4096;  // so that progress is seen where nothing has to be read

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

// A part of the disk, with what images above the base have of it.
struct Window {
    struct Step {
        GuestRange range;
        bool is_zero = false;
    };
    GuestOffset end;
    std::vector<Step> steps;  // in guest order
    std::uint64_t data_bytes = 0;
    Bytes data;  // of the steps that have some, one behind the other
    Result<void> result;
};

// Looks at what there is to copy. The base's tables are asked, too: in the thread that writes to the base.
class Planner {
  public:
    Planner(const Image& top, const Image& base, unsigned base_depth)
        : top_(top),
          base_depth_(base_depth),
          unit_(base.format().cluster_bytes()),
          window_bytes_(std::max({window_bytes_min, unit_, largest_cluster_bytes(&top)})) {}

    // Fills in the next window; false at the end of the disk.
    Result<bool> next(Window& window) {
        window.steps.clear();
        window.data_bytes = 0;
        const GuestOffset end(top_.size());
        if (at_ == end) return false;
        for (unsigned i = 0; i < extents_per_window && at_ < end && window.data_bytes < window_bytes_; ++i) {
            const Extent extent = TRY(top_.extent(GuestRange::between(at_, end)));
            at_ = extent.range.end();
            if (extent.depth >= base_depth_) continue;
            // "unallocated" is behind the end of an image in between, where the base must not show
            const bool is_zero = extent.kind == ExtentKind::zeroes || extent.kind == ExtentKind::unallocated;
            const GuestRange part = is_zero ? extent.range : whole_units(extent.range, window.data_bytes);
            at_ = part.end();
            add(window, part, is_zero);
        }
        window.end = at_;
        return true;
    }

  private:
    // As much as there is room for, up to the end of one of the base's clusters.
    GuestRange whole_units(GuestRange range, std::uint64_t bytes_before) const {
        const GuestOffset most = range.start + std::min(range.length, window_bytes_ - bytes_before);
        const GuestOffset whole(round_down(most.bytes, unit_));
        return GuestRange::between(range.start, most == range.end() || whole <= range.start ? most : whole);
    }

    // Compressed clusters come one at a time, and extents end where the file has a gap.
    static void add(Window& window, GuestRange part, bool is_zero) {
        if (!is_zero) window.data_bytes += part.length;
        if (!window.steps.empty()) {
            Window::Step& last = window.steps.back();
            if (last.is_zero == is_zero && last.range.end() == part.start) {
                last.range.length += part.length;
                return;
            }
        }
        window.steps.push_back({part, is_zero});
    }

    const Image& top_;
    unsigned base_depth_;
    std::uint64_t unit_;
    std::uint64_t window_bytes_;
    GuestOffset at_;
};

// Reads what is above the base, and nothing else: the base is being written to.
Result<void> read_window(const Image& top, Window& window) {
    window.data.resize(window.data_bytes);
    auto rest = std::span(window.data);
    for (const Window::Step& step : window.steps) {
        if (step.is_zero) continue;
        TRY(top.read(step.range.start, rest.first(step.range.length)));
        rest = rest.subspan(step.range.length);
    }
    return {};
}

Result<void> write_window(Image& base, const Window& window) {
    auto rest = std::span<const std::byte>(window.data);
    for (const Window::Step& step : window.steps) {
        if (step.is_zero) {
            TRY(base.write_zeroes(step.range));
            continue;
        }
        TRY(base.write(step.range.start, rest.first(step.range.length)));
        rest = rest.subspan(step.range.length);
    }
    if (window.data_bytes != 0) {
        const GuestRange written =
            GuestRange::between(window.steps.front().range.start, window.steps.back().range.end());
        base.start_writeback(written);
    }
    return {};
}

// Several threads read, one writes. What is copied is on stable storage afterwards. Returns how many bytes it was.
Result<std::uint64_t> copy_into(const Image& top, Image& base, unsigned base_depth,
                                const CommitOptions& options, Progress& progress) {
    Planner planner(top, base, base_depth);
    const RateLimit limit(options.rate_limit);
    std::uint64_t bytes_copied = 0;
    const std::size_t members = std::max(1u, std::thread::hardware_concurrency());
    std::vector<Window> windows(members + 1);
    Crew crew(members, windows.size(),
              [&](std::size_t, std::size_t slot) { windows[slot].result = read_window(top, windows[slot]); });
    progress.update(0, top.size());
    const auto plan = [&](std::size_t slot) { return planner.next(windows[slot]); };
    const auto finish = [&](std::size_t slot) -> Result<void> {
        const Window& window = windows[slot];
        TRY(window.result);
        TRY(write_window(base, window));
        bytes_copied += window.data_bytes;
        progress.update(window.end.bytes, top.size());
        if (progress.cancelled()) {
            return fail(ErrorKind::cancelled, "interrupted; the overlay has everything still");
        }
        limit.wait_after(bytes_copied);
        return {};
    };
    TRY(work_in_order(crew, windows.size(), plan, finish));
    TRY(base.flush());
    return bytes_copied;
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
