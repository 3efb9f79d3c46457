// Two chains side by side: equal by construction, equal when read, or different.
// SPDX-License-Identifier: Apache-2.0
#include "operations/chain_differences.hpp"

#include <algorithm>
#include <cstring>
#include <future>
#include <vector>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "operations/cluster_compressor.hpp"
#include "operations/same_file.hpp"

namespace qimg {

namespace {

// The most that is compared at once, bytes; a multiple of every cluster size.
constexpr std::uint64_t window_bytes = 4 * MiB;
// Zeroes that are worth an entry of their own.
constexpr std::uint64_t zeroes_bytes_min = 128 * KiB;

// A backing chain as long as its overlay: behind its end, and where there is none, it has nothing.
class Chain {
  public:
    explicit Chain(const Image* image) : image_(image) {
        for (const Image* layer = image; layer != nullptr; layer = layer->backing())
            files_.push_back(layer->format().data_storage().name());
    }

    const std::vector<std::string>& files() const { return files_; }

    Result<Extent> extent(GuestRange range) const {
        const GuestRange inside = inside_of(range);
        if (inside.empty()) return Extent{range, ExtentKind::unallocated, 0, std::nullopt, 0};
        return image_->extent(inside);
    }

    Result<void> read(GuestRange range, std::span<std::byte> into) const {
        const GuestRange inside = inside_of(range);
        if (!inside.empty()) TRY(image_->read(inside.start, into.first(inside.length)));
        std::fill(into.begin() + static_cast<std::ptrdiff_t>(inside.length), into.end(), std::byte{0});
        return {};
    }

  private:
    GuestRange inside_of(GuestRange range) const {
        const std::uint64_t size = image_ == nullptr ? 0 : image_->size();
        return intersection(range, GuestRange(GuestOffset(0), size));
    }

    const Image* image_;
    std::vector<std::string> files_;  // that guest data is in, by depth
};

bool is_empty(const Extent& extent) {
    return extent.kind == ExtentKind::zeroes || extent.kind == ExtentKind::unallocated;
}

// What becomes of a unit: nothing, or the old chain's content is kept, which may be zeroes.
enum class Verdict { same, zeroes, data };

struct Run {
    GuestRange range;
    Verdict verdict;
};

class Differences {
  public:
    Differences(Image& overlay, const Image* other, ClusterCompressor* compressor)
        : overlay_(overlay),
          old_(overlay.backing()),
          new_(other),
          compressor_(compressor),
          unit_(compressor != nullptr ? overlay.format().cluster_bytes()
                                      : overlay.format().subcluster_bytes()) {
        for (const std::string& file : old_.files()) {
            std::vector<bool>& row = same_file_.emplace_back();
            for (const std::string& candidate : new_.files())
                row.push_back(is_same_file(file, candidate));
        }
    }

    // `run` is unallocated in the overlay. Skips what is equal without being read, however long that is, and
    // deals with one window of what is not; returns how far that went.
    Result<GuestOffset> keep_next(GuestRange run) {
        const GuestOffset equal_end = TRY(end_of_equal(run));
        if (equal_end == run.end()) return equal_end;
        const GuestOffset at = std::max(run.start, unit_start(equal_end));
        const GuestRange window = TRY(next_window(GuestRange::between(at, run.end())));
        TRY(compare(window));
        return window.end();
    }

    std::uint64_t bytes_copied() const { return bytes_copied_; }

  private:
    GuestOffset unit_start(GuestOffset at) const { return GuestOffset(round_down(at.bytes, unit_)); }
    GuestOffset next_unit(GuestOffset at) const { return GuestOffset(round_down(at.bytes, unit_) + unit_); }

    bool is_same_place(const Extent& a, const Extent& b) const {
        return a.kind == b.kind && a.host && a.host == b.host && a.compressed_bytes == b.compressed_bytes &&
               same_file_[a.depth][b.depth];
    }

    // How far the chains are equal without being read.
    Result<GuestOffset> end_of_equal(GuestRange range) const {
        while (!range.empty()) {
            const Extent before = TRY(old_.extent(range));
            const Extent after = TRY(new_.extent(range));
            const bool is_equal = (is_empty(before) && is_empty(after)) || is_same_place(before, after);
            if (!is_equal) break;
            range = GuestRange::between(std::min(before.range.end(), after.range.end()), range.end());
        }
        return range.start;
    }

    // What is worth reading at once from the range's start, where the chains are not equal.
    Result<GuestRange> next_window(GuestRange range) const {
        const GuestRange most(range.start, std::min(range.length, window_bytes));
        GuestOffset end = std::min(next_unit(range.start), most.end());
        while (end < most.end()) {
            const GuestRange rest = GuestRange::between(end, most.end());
            const GuestOffset equal_end = TRY(end_of_equal(rest));
            if (equal_end != end && unit_start(equal_end) > end) break;
            const Extent before = TRY(old_.extent(rest));
            const Extent after = TRY(new_.extent(rest));
            const GuestOffset step = std::min(before.range.end(), after.range.end());
            end = std::min(std::max(next_unit(end), unit_start(step)), most.end());
        }
        return GuestRange::between(range.start, end);
    }

    // Side by side where that is worth a thread; the system may still let one follow the other.
    Result<void> read_both(GuestRange window, std::span<std::byte> kept, std::span<std::byte> other) const {
        const auto policy = window.length < window_bytes / 4 ? std::launch::deferred
                                                             : std::launch::async | std::launch::deferred;
        auto reading = std::async(policy, [&] { return new_.read(window, other); });
        const Result<void> done = old_.read(window, kept);
        TRY(reading.get());
        return done;
    }

    Result<void> compare(GuestRange window) {
        kept_.resize(window_bytes);
        other_.resize(window_bytes);
        const auto kept = std::span(kept_).first(window.length);
        const auto other = std::span(other_).first(window.length);
        TRY(read_both(window, kept, other));
        const auto judge = [&](GuestRange unit) {
            const std::size_t at = unit.start - window.start;
            if (std::memcmp(kept.data() + at, other.data() + at, unit.length) == 0) return Verdict::same;
            return is_zero(kept.subspan(at, unit.length)) ? Verdict::zeroes : Verdict::data;
        };
        std::vector<Run> runs;
        for (GuestOffset at = window.start; at < window.end();) {
            const GuestRange unit = GuestRange::between(at, std::min(next_unit(at), window.end()));
            const Verdict verdict = judge(unit);
            if (runs.empty() || runs.back().verdict != verdict) runs.push_back({GuestRange(at, 0), verdict});
            runs.back().range.length += unit.length;
            at = unit.end();
        }
        if (compressor_ == nullptr) join_short_zeroes(runs);
        for (const Run& run : runs)
            TRY(put(run.range, run.verdict, window));
        return {};
    }

    // A few zeroes beside data are written with it, so that they do not cut it into small runs.
    static void join_short_zeroes(std::vector<Run>& runs) {
        const auto is_data = [&](std::size_t i) {
            return i < runs.size() && runs[i].verdict == Verdict::data;
        };
        for (std::size_t i = 0; i < runs.size(); ++i) {
            const bool beside_data = is_data(i + 1) || (i > 0 && is_data(i - 1));
            const bool is_short = runs[i].range.length < zeroes_bytes_min;
            if (runs[i].verdict == Verdict::zeroes && is_short && beside_data)
                runs[i].verdict = Verdict::data;
        }
    }

    Result<void> put(GuestRange run, Verdict verdict, GuestRange window) {
        if (verdict == Verdict::same || run.empty()) return {};
        const auto bytes = std::span<const std::byte>(kept_).subspan(run.start - window.start, run.length);
        bytes_copied_ += run.length;
        if (verdict == Verdict::zeroes) {
            // not Image::write_zeroes: that sees zeroes here already, through the old chain
            const bool done = TRY(overlay_.format().zero(run, false));
            if (done) return {};
            return overlay_.write(run.start, bytes);
        }
        if (compressor_ != nullptr) return compressor_->write(overlay_, run, bytes);
        return overlay_.write(run.start, bytes);
    }

    Image& overlay_;
    Chain old_;
    Chain new_;
    ClusterCompressor* compressor_;  // null: nothing is compressed
    std::uint64_t unit_;
    std::vector<std::vector<bool>> same_file_;  // by depth in the old and in the new chain
    Bytes kept_;
    Bytes other_;
    std::uint64_t bytes_copied_ = 0;
};

}  // namespace

Result<std::uint64_t> keep_differences(Image& overlay, const Image* other, bool compress,
                                       Progress& progress) {
    std::unique_ptr<ClusterCompressor> compressor;
    if (compress) compressor = TRY(ClusterCompressor::make(overlay));
    Differences differences(overlay, other, compressor.get());
    const GuestOffset end(overlay.size());
    for (GuestOffset at(0); at < end;) {
        const Mapping mapping = TRY(overlay.format().map(GuestRange::between(at, end)));
        at = mapping.range.end();
        if (mapping.kind == MappingKind::unallocated) at = TRY(differences.keep_next(mapping.range));
        progress.update(at.bytes, overlay.size());
        if (progress.cancelled()) {
            return fail(ErrorKind::cancelled, "interrupted; the old backing image is in use still");
        }
    }
    return differences.bytes_copied();
}

}  // namespace qimg
