// Reading, testing for zeroes, compressing.
// SPDX-License-Identifier: Apache-2.0
#include "operations/convert/runs.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"

namespace qimg {

namespace {

constexpr std::uint64_t block_bytes_max = 4096;  // what file systems make holes of

// Zeroes are looked for in blocks of this size, which sparse_bytes is a multiple of.
std::uint64_t block_bytes(std::uint64_t sparse_bytes) {
    return std::min(sparse_bytes & (~sparse_bytes + 1), block_bytes_max);
}

std::span<std::byte> slice(Bytes& buffer, const Window& window, GuestRange part) {
    return std::span(buffer).subspan(part.start - window.range.start, part.length);
}

void add_run(Work& work, const Run& run) {
    const bool joins = !work.runs.empty() && run.kind != RunKind::compressed &&
                       work.runs.back().kind == run.kind && work.runs.back().range.end() == run.range.start;
    if (joins) {
        work.runs.back().range.length += run.range.length;
    } else {
        work.runs.push_back(run);
    }
}

void append_compressed(Work& work, GuestRange part, std::span<const std::byte> stream) {
    add_run(work, Run{RunKind::compressed, part, work.compressed.size(), stream.size()});
    work.compressed.insert(work.compressed.end(), stream.begin(), stream.end());
}

}  // namespace

Result<RunMaker> RunMaker::make(const Source& source, const RunOptions& options) {
    RunMaker maker(source, options);
    if (options.codec) maker.compressor_ = TRY(make_compressor(*options.codec, options.level));
    return maker;
}

Result<void> RunMaker::make_runs(Work& work) {
    work.runs.clear();
    work.non_zero.clear();
    work.compressed.clear();
    work.warnings.clear();
    // whole units: a compressed cluster is never cut short
    if (work.window.has_data()) work.data.resize(round_up(work.window.range.length, options_.unit));
    for (const Piece& piece : work.window.pieces) {
        switch (piece.kind) {
            case PieceKind::keep:
                break;
            case PieceKind::zero:
                add_run(work, Run{.kind = RunKind::zero, .range = piece.range});
                break;
            case PieceKind::verbatim:
                TRY(take_verbatim(work, piece));
                break;
            case PieceKind::read:
            case PieceKind::compare:
                TRY(read_piece(work, piece));
                break;
        }
    }
    return {};
}

// Decompressing shows how long the stream is and that it is whole, at a fraction of what compressing costs.
Result<void> RunMaker::take_verbatim(Work& work, const Piece& piece) const {
    Bytes stream(piece.compressed_bytes);
    const auto read = piece.holder->format().data_storage().read(piece.host, stream);
    if (!read) return fail_at("reading", piece.range.start, read.error());
    const auto cluster = slice(work.data, work.window, GuestRange(piece.range.start, options_.unit));
    const auto length = decompress(*options_.codec, stream, cluster);
    if (!length) {
        Error damage = length.error();
        damage.message = fmt::format("{}: compressed cluster at {:#x}: {}", printable(piece.holder->path()),
                                     piece.host.bytes, damage.message);
        return fail_at("reading", piece.range.start, damage);
    }
    if (options_.sparse_bytes != 0 && is_zero(cluster)) {
        add_run(work, Run{.kind = RunKind::zero, .range = piece.range});
    } else if (*length < options_.unit) {
        append_compressed(work, piece.range, std::span(stream).first(*length));
    } else {
        add_data(work, piece.range);
    }
    return {};
}

Result<void> RunMaker::read_piece(Work& work, const Piece& piece) {
    // up to a whole unit, of which the source fills in zeroes past its end
    const GuestRange whole(piece.range.start, round_up(piece.range.length, options_.unit));
    const auto data = slice(work.data, work.window, whole);
    if (options_.salvage) {
        source_->salvage(whole.start, data, work.warnings);
    } else {
        TRY(source_->read(whole.start, data));
    }
    if (piece.kind == PieceKind::read) {
        split(work, piece.range);
        return {};
    }
    work.base.resize(whole.length);
    const std::uint64_t base_rest =
        options_.base->size() - std::min(options_.base->size(), whole.start.bytes);
    const std::size_t known = std::min<std::uint64_t>(whole.length, base_rest);
    TRY(options_.base->read(whole.start, std::span(work.base).first(known)));
    std::fill(work.base.begin() + static_cast<std::ptrdiff_t>(known), work.base.end(), std::byte{0});
    for (std::size_t at = 0; at < whole.length; at += options_.unit) {
        const auto mine = data.subspan(at, options_.unit);
        if (std::equal(mine.begin(), mine.end(), work.base.begin() + static_cast<std::ptrdiff_t>(at)))
            continue;
        split(work, intersection(piece.range, GuestRange(whole.start + at, options_.unit)));
    }
    return {};
}

// The zero units at the start of `part`.
GuestRange RunMaker::leading_zeroes(Work& work, GuestRange part) const {
    GuestRange zeroes(part.start, 0);
    while (zeroes.end() < part.end()) {
        const GuestRange unit(zeroes.end(), std::min(options_.unit, part.end() - zeroes.end()));
        if (!is_zero(slice(work.data, work.window, unit))) break;
        zeroes.length += unit.length;
    }
    return zeroes;
}

// Unit by unit: zero or not.
void RunMaker::split(Work& work, GuestRange part) {
    for (GuestOffset at = part.start; at < part.end();) {
        const GuestRange rest = GuestRange::between(at, part.end());
        const GuestRange zeroes = options_.sparse_bytes == 0 ? GuestRange(at, 0) : leading_zeroes(work, rest);
        if (!zeroes.empty()) {
            const bool inside = zeroes.start > part.start && zeroes.end() < part.end();
            const bool too_short = !compressor_ && inside && zeroes.length < options_.sparse_bytes;
            add_run(work, Run{.kind = too_short ? RunKind::data : RunKind::zero, .range = zeroes});
            at = zeroes.end();
            continue;
        }
        const GuestRange unit(at, std::min(options_.unit, rest.length));
        if (compressor_) {
            add_compressed(work, unit);
        } else {
            add_data(work, unit);
        }
        at = unit.end();
    }
}

// Inside a unit with data, runs of zeroes that are long enough are not worth writing.
void RunMaker::add_data(Work& work, GuestRange part) const {
    add_run(work, Run{.kind = RunKind::data, .range = part});
    const auto add = [&](GuestRange range) {
        // what would leave too short a hole is written, too
        const bool joins =
            !work.non_zero.empty() && work.non_zero.back().end() <= range.start &&
            range.start - work.non_zero.back().end() < std::max<std::uint64_t>(options_.sparse_bytes, 1) &&
            work.runs.back().range.contains(work.non_zero.back().start);
        if (joins) {
            work.non_zero.back() = GuestRange::between(work.non_zero.back().start, range.end());
        } else {
            work.non_zero.push_back(range);
        }
    };
    if (options_.sparse_bytes == 0) return add(part);
    const std::uint64_t block = block_bytes(options_.sparse_bytes);
    for (GuestOffset at = part.start; at < part.end(); at += block) {
        const GuestRange range(at, std::min(block, part.end() - at));
        if (!is_zero(slice(work.data, work.window, range))) add(range);
    }
}

void RunMaker::add_compressed(Work& work, GuestRange part) {
    const auto stream =
        compressor_->compress(slice(work.data, work.window, GuestRange(part.start, options_.unit)));
    if (stream) {
        append_compressed(work, part, *stream);
    } else {
        add_data(work, part);
    }
}

}  // namespace qimg
