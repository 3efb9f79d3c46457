// From extents to pieces of work.
// SPDX-License-Identifier: Apache-2.0
#include "operations/convert/plan.hpp"

#include <algorithm>

#include "base/try.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg {

namespace {

// Less than a few blocks is copied as fast.
constexpr std::uint64_t shared_bytes_min = 64 * KiB;

bool is_zero(ExtentKind kind) {
    return kind == ExtentKind::zeroes || kind == ExtentKind::unallocated;
}

bool has_data(PieceKind kind) {
    return kind != PieceKind::keep && kind != PieceKind::zero && kind != PieceKind::share;
}

// Does `next` go on where `piece` ends, in the same way?
bool continues(const Piece& piece, const Piece& next) {
    if (piece.kind != next.kind) return false;
    return piece.kind != PieceKind::share ||
           (piece.holder == next.holder && piece.host + piece.range.length == next.host);
}

Piece make_piece(PieceKind kind, GuestRange range) {
    Piece piece;
    piece.kind = kind;
    piece.range = range;
    return piece;
}

void append(std::vector<Piece>& pieces, const Piece& piece) {
    if (!pieces.empty() && piece.kind != PieceKind::verbatim && continues(pieces.back(), piece)) {
        pieces.back().range.length += piece.range.length;
    } else {
        pieces.push_back(piece);
    }
}

}  // namespace

bool Window::has_data() const {
    return std::any_of(pieces.begin(), pieces.end(),
                       [](const Piece& piece) { return qimg::has_data(piece.kind); });
}

std::uint64_t Window::data_bytes() const {
    std::uint64_t bytes = 0;
    for (const Piece& piece : pieces) {
        if (qimg::has_data(piece.kind) || piece.kind == PieceKind::share) bytes += piece.range.length;
    }
    return bytes;
}

Plan::Plan(const Source& source, const PlanOptions& options)
    : source_(source), options_(options), window_bytes_(std::max(options.unit, options.window_bytes)) {}

Result<bool> Plan::next(Window& window) {
    window.pieces.clear();
    const GuestOffset end(options_.size);
    GuestOffset limit(std::min(round_down(at_.bytes, window_bytes_) + window_bytes_, end.bytes));
    window.range = GuestRange(at_, 0);
    bool with_data = false;
    while (at_ < limit) {
        Piece piece = TRY(piece_at(at_));
        with_data = with_data || has_data(piece.kind);
        // what needs no buffer may go on for as many windows as it likes
        if (!with_data && piece.range.end() > limit) {
            const bool to_the_end = piece.range.end() >= end;
            limit = to_the_end ? end : GuestOffset(round_down(piece.range.end().bytes, window_bytes_));
        }
        piece.range = GuestRange::between(at_, std::min(piece.range.end(), limit));
        append(window.pieces, piece);
        at_ = piece.range.end();
    }
    window.range = GuestRange::between(window.range.start, at_);
    hand_out_warnings(window);
    return window.range.length != 0;
}

// The longest run of whole units of one kind; a unit of several kinds is data.
Result<Piece> Plan::piece_at(GuestOffset at) {
    const GuestOffset end(options_.size);
    Piece piece = TRY(classify(at));
    while (piece.range.end() < end && !is_aligned(piece.range.end().bytes, options_.unit)) {
        const Piece more = TRY(classify(piece.range.end()));
        if (!continues(piece, more)) break;
        piece.range.length += more.range.length;
    }
    const GuestOffset whole =
        piece.range.end() >= end ? end : GuestOffset(round_down(piece.range.end().bytes, options_.unit));
    if (whole > at) {
        piece.range = GuestRange::between(at, whole);
        return piece;
    }
    return make_piece(PieceKind::read, GuestRange(at, std::min(options_.unit, end - at)));
}

Result<Piece> Plan::classify(GuestOffset at) {
    if (!last_ || !last_->range.contains(at)) {
        const SourceExtent extent = TRY(extent_from(at));
        if (options_.base != nullptr) {
            last_ = TRY(classify_over_base(extent));
        } else if (is_zero(extent.kind)) {
            last_ = make_piece(options_.keep_zeroes ? PieceKind::zero : PieceKind::read, extent.range);
        } else {
            last_ = make_piece(PieceKind::read, extent.range);
        }
        if (last_->kind == PieceKind::read && is_verbatim(extent)) {
            last_ = Piece{PieceKind::verbatim, extent.range, extent.holder, *extent.host,
                          extent.compressed_bytes};
        } else if (last_->kind == PieceKind::read) {
            const std::uint64_t bytes = shareable_bytes(extent);
            if (bytes != 0)
                last_ = Piece{PieceKind::share, GuestRange(at, bytes), extent.holder, *extent.host, 0};
        }
    }
    Piece rest = *last_;
    rest.range = GuestRange::between(at, last_->range.end());
    if (rest.kind == PieceKind::share) rest.host += at - last_->range.start;
    // a part of a compressed cluster cannot be taken over
    if (rest.kind == PieceKind::verbatim && !(rest.range == last_->range)) rest.kind = PieceKind::read;
    return rest;
}

// Those about the window: what comes behind it may have been looked at already.
void Plan::hand_out_warnings(Window& window) {
    window.warnings.clear();
    const auto behind = std::find_if(warnings_.begin(), warnings_.end(), [&](const Warning& warning) {
        return warning.at >= window.range.end();
    });
    for (auto warning = warnings_.begin(); warning != behind; ++warning)
        window.warnings.push_back(std::move(warning->text));
    warnings_.erase(warnings_.begin(), behind);
}

Result<SourceExtent> Plan::extent_from(GuestOffset at) {
    const GuestRange rest = GuestRange::between(at, GuestOffset(options_.size));
    if (!options_.salvage) return source_.extent(rest);
    std::vector<std::string> warnings;
    SourceExtent extent = source_.salvage_extent(rest, warnings);
    if (!warnings.empty() && at >= warned_up_to_) {
        for (std::string& text : warnings)
            warnings_.push_back({at, std::move(text)});
        warned_up_to_ = extent.range.end();
    }
    return extent;
}

// The backing image's own extents say where it reads as zeroes, and a source that stands on the same file
// says what comes from it.
Result<Piece> Plan::classify_over_base(const SourceExtent& extent) const {
    const bool shares = options_.base_depth.has_value();
    if (shares && extent.kind != ExtentKind::unallocated && extent.depth >= *options_.base_depth) {
        return make_piece(PieceKind::keep, extent.range);
    }
    const PieceKind data = shares ? PieceKind::read : PieceKind::compare;
    if (shares && !is_zero(extent.kind)) return make_piece(data, extent.range);
    const std::uint64_t base_size = options_.base->size();
    GuestRange range = extent.range;
    bool base_is_zero = true;
    if (range.start.bytes < base_size) {
        const Extent below =
            TRY(options_.base->extent(intersection(range, GuestRange(GuestOffset(0), base_size))));
        range.length = below.range.length;
        base_is_zero = is_zero(below.kind);
    }
    if (!is_zero(extent.kind)) return make_piece(base_is_zero ? PieceKind::read : data, range);
    if (base_is_zero) return make_piece(PieceKind::keep, range);
    return make_piece(options_.keep_zeroes ? PieceKind::zero : PieceKind::read, range);
}

// How much of the extent, from its start, the target's file can have without copying; 0: nothing.
std::uint64_t Plan::shareable_bytes(const SourceExtent& extent) {
    if (options_.share_with == nullptr || extent.kind != ExtentKind::data || !extent.host) return 0;
    if (extent.has_faults || !is_aligned(extent.range.start.bytes, shared_unit) ||
        !is_aligned(extent.host->bytes, shared_unit)) {
        return 0;
    }
    const std::uint64_t bytes = round_down(last_->range.length, std::max(shared_unit, options_.unit));
    return bytes >= shared_bytes_min && can_share(*extent.holder) ? bytes : 0;
}

bool Plan::can_share(const Image& holder) {
    const auto known = can_share_.find(&holder);
    if (known != can_share_.end()) return known->second;
    const auto answer =
        share_blocks(holder.format().data_storage(), HostRange(), *options_.share_with, HostOffset(0));
    return can_share_[&holder] = answer.has_value() && *answer;
}

bool Plan::is_verbatim(const SourceExtent& extent) const {
    if (!options_.verbatim_codec || extent.kind != ExtentKind::compressed || !extent.host) return false;
    const auto* holder = dynamic_cast<const qcow2::Qcow2*>(&extent.holder->format());
    if (holder == nullptr || holder->header().codec != *options_.verbatim_codec) return false;
    // where the image lies in a longer disk decides whether its clusters are clusters of the target
    return holder->cluster_bytes() == options_.unit && extent.range.length == options_.unit &&
           is_aligned(extent.range.start.bytes, options_.unit);
}

}  // namespace qimg
