// Two chains side by side: equal by construction, equal when read, or different.
// SPDX-License-Identifier: Apache-2.0
#include "operations/chain_differences.hpp"

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "operations/cluster_compressor.hpp"
#include "operations/cluster_sizes.hpp"
#include "operations/crew.hpp"
#include "operations/padded_read.hpp"
#include "operations/same_file.hpp"

namespace qimg {

namespace {

// What is compared at once, bytes: so much, or one cluster.
constexpr std::uint64_t window_bytes_min = 256 * KiB;
constexpr unsigned steps_per_window = 4096;  // so that progress is seen where nothing has to be read
// Zeroes that are worth an entry of their own.
constexpr std::uint64_t zeroes_bytes_min = 128 * KiB;

// A backing chain as long as its overlay: behind its end, and where there is none, it has nothing.
class Chain {
  public:
    explicit Chain(const Image* image) : image_(image) {
        for (const Image* layer = image; layer != nullptr; layer = layer->backing())
            files_.push_back(layer->format().data_storage().name());
    }

    // There are no images: it reads as zeroes.
    bool is_empty() const { return image_ == nullptr; }
    const std::vector<std::string>& files() const { return files_; }

    Result<Extent> extent(GuestRange range) const {
        const GuestRange inside = inside_of(range);
        if (inside.empty()) return Extent{range, ExtentKind::unallocated, 0, std::nullopt, 0};
        return image_->extent(inside);
    }

    Result<void> read(GuestRange range, std::span<std::byte> into) const {
        if (image_ != nullptr) return read_padded(*image_, range.start, into);
        std::ranges::fill(into, std::byte{0});
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
    std::size_t at = 0;  // where it is in Window::kept
};

// What one thread reads and compares at once.
struct Window {
    std::vector<GuestRange> parts;  // where the chains may differ, in guest order
    std::uint64_t bytes = 0;
    GuestOffset end;  // how far the window goes
    Bytes kept;       // what the old chain has in the parts, one behind the other
    Bytes other;
    std::vector<Run> runs;
    Result<void> result;
};

class Differences {
  public:
    Differences(Image& overlay, const Image* other, ClusterCompressor* compressor)
        : overlay_(overlay),
          old_(overlay.backing()),
          new_(other),
          compressor_(compressor),
          unit_(compressor != nullptr ? overlay.format().cluster_bytes()
                                      : overlay.format().subcluster_bytes()),
          window_bytes_(std::max(
              {window_bytes_min, unit_, largest_cluster_bytes(&overlay), largest_cluster_bytes(other)})) {
        for (const std::string& file : old_.files()) {
            std::vector<bool>& row = same_file_.emplace_back();
            for (const std::string& candidate : new_.files())
                row.push_back(is_same_file(file, candidate));
        }
    }

    // Fills in the next window; false at the end of the disk. Only what is unallocated in the overlay can
    // differ; what is equal without being read is skipped, however long that is.
    Result<bool> plan(Window& window) {
        window.parts.clear();
        window.bytes = 0;
        const GuestOffset end(overlay_.size());
        if (at_ == end) return false;
        for (unsigned i = 0; i < steps_per_window && at_ < end && window.bytes < window_bytes_; ++i) {
            const Mapping mapping = TRY(overlay_.format().map(GuestRange::between(at_, end)));
            if (mapping.kind != MappingKind::unallocated) {
                at_ = mapping.range.end();
                continue;
            }
            const GuestRange part = TRY(next_part(mapping.range, window_bytes_ - window.bytes));
            at_ = part.end();
            if (part.empty()) continue;
            window.parts.push_back(part);
            window.bytes += part.length;
        }
        window.end = at_;
        return true;
    }

    // Safe from several threads: reads the two chains, and not the overlay.
    Result<void> compare(Window& window) const {
        window.runs.clear();
        window.kept.resize(window.bytes);
        window.other.resize(new_.is_empty() ? 0 : window.bytes);
        std::size_t at = 0;
        for (const GuestRange& part : window.parts) {
            const auto kept = std::span(window.kept).subspan(at, part.length);
            TRY(old_.read(part, kept));
            if (!new_.is_empty()) TRY(new_.read(part, std::span(window.other).subspan(at, part.length)));
            judge(window, part, at);
            at += part.length;
        }
        if (compressor_ == nullptr) join_short_zeroes(window.runs);
        return {};
    }

    Result<void> put(const Window& window) {
        GuestRange changed;
        for (const Run& run : window.runs) {
            if (run.verdict == Verdict::same) continue;
            TRY(put_run(window, run));
            bytes_copied_ += run.range.length;
            changed = GuestRange::between(changed.empty() ? run.range.start : changed.start, run.range.end());
        }
        if (!changed.empty()) overlay_.start_writeback(changed);
        return {};
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

    // The first part of the run where the chains are not equal: whole units, or less where the run ends; an
    // empty one at the run's end when there is none.
    Result<GuestRange> next_part(GuestRange run, std::uint64_t bytes_max) const {
        const GuestOffset equal_end = TRY(end_of_equal(run));
        if (equal_end == run.end()) return GuestRange(run.end(), 0);
        const GuestOffset start = std::max(run.start, unit_start(equal_end));
        const GuestOffset most(
            std::max(round_down((start + bytes_max).bytes, unit_), next_unit(start).bytes));
        const GuestOffset limit = std::min(most, run.end());
        GuestOffset end = std::min(next_unit(start), limit);
        while (end < limit) {
            const GuestRange rest = GuestRange::between(end, limit);
            const GuestOffset equal_up_to = TRY(end_of_equal(rest));
            if (equal_up_to != end && unit_start(equal_up_to) > end) break;
            const Extent before = TRY(old_.extent(rest));
            const Extent after = TRY(new_.extent(rest));
            const GuestOffset step = std::min(before.range.end(), after.range.end());
            end = std::min(std::max(next_unit(end), unit_start(step)), limit);
        }
        return GuestRange::between(start, end);
    }

    // Unit by unit; `at` is where the part is in the window's buffers.
    void judge(Window& window, GuestRange part, std::size_t at) const {
        const std::size_t first_run = window.runs.size();
        for (GuestOffset unit = part.start; unit < part.end();) {
            const GuestOffset end = std::min(next_unit(unit), part.end());
            const std::size_t here = at + (unit - part.start);
            const auto kept = std::span<const std::byte>(window.kept).subspan(here, end - unit);
            Verdict verdict = is_zero(kept) ? Verdict::zeroes : Verdict::data;
            if (new_.is_empty() && verdict == Verdict::zeroes) verdict = Verdict::same;
            if (!new_.is_empty() && std::memcmp(kept.data(), window.other.data() + here, kept.size()) == 0)
                verdict = Verdict::same;
            if (window.runs.size() == first_run || window.runs.back().verdict != verdict)
                window.runs.push_back({GuestRange(unit, 0), verdict, here});
            window.runs.back().range.length += end - unit;
            unit = end;
        }
    }

    // A few zeroes beside data are written with it, so that they do not cut it into small runs.
    static void join_short_zeroes(std::vector<Run>& runs) {
        const auto is_data_at = [&](std::size_t i, GuestOffset border) {
            return i < runs.size() && runs[i].verdict == Verdict::data &&
                   (runs[i].range.start == border || runs[i].range.end() == border);
        };
        for (std::size_t i = 0; i < runs.size(); ++i) {
            const GuestRange range = runs[i].range;
            const bool beside_data =
                is_data_at(i + 1, range.end()) || (i > 0 && is_data_at(i - 1, range.start));
            if (runs[i].verdict == Verdict::zeroes && range.length < zeroes_bytes_min && beside_data)
                runs[i].verdict = Verdict::data;
        }
    }

    Result<void> put_run(const Window& window, const Run& run) {
        const auto bytes = std::span<const std::byte>(window.kept).subspan(run.at, run.range.length);
        if (run.verdict == Verdict::zeroes) {
            // not Image::write_zeroes: that sees zeroes here already, through the old chain
            const bool done = TRY(overlay_.format().zero(run.range, false));
            if (done) return {};
            return overlay_.write(run.range.start, bytes);
        }
        if (compressor_ != nullptr) return compressor_->write(overlay_, run.range, bytes);
        return overlay_.write(run.range.start, bytes);
    }

    Image& overlay_;
    Chain old_;
    Chain new_;
    ClusterCompressor* compressor_;  // null: nothing is compressed
    std::uint64_t unit_;
    std::uint64_t window_bytes_;
    std::vector<std::vector<bool>> same_file_;  // by depth in the old and in the new chain
    GuestOffset at_;                            // how far is planned
    std::uint64_t bytes_copied_ = 0;
};

}  // namespace

Result<std::uint64_t> keep_differences(Image& overlay, const Image* other, bool compress,
                                       Progress& progress) {
    std::unique_ptr<ClusterCompressor> compressor;
    if (compress) compressor = TRY(ClusterCompressor::make(overlay));
    Differences differences(overlay, other, compressor.get());
    const std::size_t members = std::max(1u, std::thread::hardware_concurrency());
    std::vector<Window> windows(members + 1);
    Crew crew(members, windows.size(), [&](std::size_t, std::size_t slot) {
        windows[slot].result = differences.compare(windows[slot]);
    });
    const auto plan = [&](std::size_t slot) { return differences.plan(windows[slot]); };
    const auto finish = [&](std::size_t slot) -> Result<void> {
        TRY(windows[slot].result);
        TRY(differences.put(windows[slot]));
        progress.update(windows[slot].end.bytes, overlay.size());
        if (progress.cancelled()) {
            return fail(ErrorKind::cancelled, "interrupted; the old backing image is in use still");
        }
        return {};
    };
    TRY(work_in_order(crew, windows.size(), plan, finish));
    return differences.bytes_copied();
}

}  // namespace qimg
