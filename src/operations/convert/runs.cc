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

// Only a stream shorter than this can be one of nothing but zeroes: they are known to compress very well.
constexpr std::uint64_t may_be_zeroes_bytes = 4 * KiB;

// Zeroes are looked for in blocks of this size, which sparse_bytes is a multiple of.
std::uint64_t block_bytes(std::uint64_t sparse_bytes) {
    return std::min(sparse_bytes & (~sparse_bytes + 1), block_bytes_max);
}

std::span<std::byte> slice(Bytes& buffer, const Window& window, GuestRange part) {
    return std::span(buffer).subspan(part.start - window.range.start, part.length);
}

// How many compressed clusters from the first one on lie one behind the other.
std::size_t count_neighbours(std::span<const Piece> pieces) {
    const auto follows = [](const Piece& next, const Piece& piece) {
        return next.kind == PieceKind::verbatim && next.holder == piece.holder && next.host >= piece.host &&
               next.host - piece.host <= piece.compressed_bytes;
    };
    std::size_t count = 1;
    while (count < pieces.size() && follows(pieces[count], pieces[count - 1]))
        ++count;
    return count;
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
    work.placed.clear();
    work.shared.clear();
    // whole units: a compressed cluster is never cut short
    if (work.window.has_data()) work.data.resize(round_up(work.window.range.length, options_.unit));
    const std::span<const Piece> pieces(work.window.pieces);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const Piece& piece = pieces[i];
        switch (piece.kind) {
            case PieceKind::keep:
                break;
            case PieceKind::zero:
                add_run(work, Run{.kind = RunKind::zero, .range = piece.range});
                break;
            case PieceKind::verbatim: {
                const std::size_t count = count_neighbours(pieces.subspan(i));
                TRY(take_neighbours(work, pieces.subspan(i, count)));
                i += count - 1;
                break;
            }
            case PieceKind::share:
                work.runs.push_back(Run{.kind = RunKind::share,
                                        .range = piece.range,
                                        .from = &piece.holder->format().data_storage(),
                                        .from_host = piece.host});
                break;
            case PieceKind::read:
            case PieceKind::compare:
                TRY(read_piece(work, piece));
                break;
        }
    }
    return {};
}

// Clusters whose streams lie behind one another are read at once.
Result<void> RunMaker::take_neighbours(Work& work, std::span<const Piece> pieces) const {
    const Piece& first = pieces.front();
    const Piece& last = pieces.back();
    work.streams.resize(last.host - first.host + last.compressed_bytes);
    const auto read = first.holder->format().data_storage().read(first.host, work.streams);
    if (!read) return fail_at("reading", first.range.start, read.error());
    for (const Piece& piece : pieces) {
        TRY(take_verbatim(work, piece,
                          std::span(work.streams).subspan(piece.host - first.host, piece.compressed_bytes)));
    }
    return {};
}

// `stored` ends with a sector that may hold the beginning of another stream: only what belongs to this one goes on.
Result<void> RunMaker::take_verbatim(Work& work, const Piece& piece,
                                     std::span<const std::byte> stored) const {
    if (stored.size() > may_be_zeroes_bytes) {
        const auto length = stream_length(*options_.codec, stored, options_.unit);
        if (length && *length < options_.unit) {
            append_compressed(work, piece.range, stored.first(*length));
            return {};
        }
    }
    // Decompressing shows how long the stream is and that it is whole, at a fraction of what compressing costs.
    const auto cluster = slice(work.data, work.window, GuestRange(piece.range.start, options_.unit));
    const auto length = decompress(*options_.codec, stored, cluster);
    if (!length) {
        Error damage = length.error();
        damage.message = fmt::format("{}: compressed cluster at {:#x}: {}", printable(piece.holder->path()),
                                     piece.host.bytes, damage.message);
        return fail_at("reading", piece.range.start, damage);
    }
    if (options_.sparse_bytes != 0 && is_zero(cluster)) {
        add_run(work, Run{.kind = RunKind::zero, .range = piece.range});
    } else if (*length < options_.unit) {
        append_compressed(work, piece.range, stored.first(*length));
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
    const GuestOffset end = work.non_zero.empty() ? part.start : work.non_zero.back().end();
    if (end > part.start && end < part.end() && part.end() - end < options_.sparse_bytes)
        work.non_zero.back().length += part.end() - end;
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
