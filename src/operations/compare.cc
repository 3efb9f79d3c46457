// One thread walks over the extents of both images and leaves out what needs no look; several threads read the
// rest. Results are looked at in guest order, so that the first difference is the lowest one.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/compare.hpp"

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "operations/block_status.hpp"
#include "operations/cluster_sizes.hpp"
#include "operations/crew.hpp"
#include "operations/extent_walk.hpp"
#include "operations/padded_read.hpp"

namespace qimg {

namespace {

// Handed over at once, or one cluster: enough that the handing over counts for little.
constexpr std::uint64_t job_bytes_min = 2 * MiB;
// Read at once, or one cluster: two buffers of it stay in a processor's second-level cache.
constexpr std::uint64_t read_bytes_min = 256 * KiB;
constexpr unsigned extents_per_job = 4096;  // so that progress is seen where nothing has to be read
constexpr std::size_t spare_slots = 1;

// What an image's bytes are made of from some offset on.
struct Run {
    std::uint64_t length = 0;
    bool zero = false;
    ExtentKind kind = ExtentKind::unallocated;
    std::optional<FileIdentity> file;
    std::optional<HostOffset> host;  // compressed: of the whole cluster
    std::uint64_t cluster_bytes = 0;
};

// An image seen as a disk that goes on with zeroes behind its end.
class Side {
  public:
    explicit Side(const Image& image) : image_(image), walk_(image, Holes::all), status_walk_(image) {
        // an image that fails on purpose has to be read to fail
        const bool can_share = image.assembly() == nullptr || image.assembly()->guest_faults.empty();
        for (const Image* layer = &image; layer != nullptr; layer = layer->backing()) {
            files_.push_back(can_share ? layer->format().data_storage().identity() : std::nullopt);
        }
    }

    const Image& image() const { return image_; }
    std::uint64_t size() const { return image_.size(); }

    Result<Run> run_at(GuestOffset at, GuestOffset end) {
        Run run;
        if (at.bytes >= size()) {
            run.length = end - at;
            run.zero = true;
            return run;
        }
        if (!last_.extent.range.contains(at)) {
            last_ = TRY(walk_.at(GuestRange::between(at, GuestOffset(size()))));
        }
        const Extent& extent = last_.extent;
        run.length = extent.range.end() - at;
        run.zero = last_.reads_as_zeroes();
        run.kind = extent.kind;
        run.file = files_[extent.depth];
        run.host = extent.host;
        if (run.host && run.kind == ExtentKind::data) *run.host += at - extent.range.start;
        run.cluster_bytes = layer_of(image_, extent).format().cluster_bytes();
        return run;
    }

    Result<StatusRun> status_at(GuestOffset at) { return block_status(image_, status_walk_, at); }

    // Reads zeroes behind the end.
    Result<void> read(GuestOffset at, std::span<std::byte> into) const {
        return read_padded(image_, at, into);
    }

  private:
    const Image& image_;
    ExtentWalk walk_;
    ExtentWalk status_walk_;
    FileExtent last_;
    std::vector<std::optional<FileIdentity>> files_;  // by depth
};

bool come_from_same_place(const Run& a, const Run& b) {
    if (!a.file || !b.file || !a.host || !b.host) return false;
    if (*a.file != *b.file || *a.host != *b.host || a.kind != b.kind) return false;
    return a.kind == ExtentKind::data ||
           (a.kind == ExtentKind::compressed && a.cluster_bytes == b.cluster_bytes);
}

// A part that has to be read; a side that is known to be zero there is not.
struct Piece {
    GuestRange range;
    bool from_first = false;
    bool from_second = false;
};

struct Job {
    GuestRange range;
    std::vector<Piece> pieces;
    std::uint64_t bytes = 0;  // of the pieces
    CompareReport report;
};

// Of a thread.
struct Buffers {
    Bytes first;
    Bytes second;
};

CompareReport difference(CompareVerdict verdict, GuestOffset at) {
    CompareReport report;
    report.verdict = verdict;
    report.offset = at.bytes;
    return report;
}

// As the user gave it.
std::string name_of(const Image& image) {
    const bool is_named = image.assembly() != nullptr && !image.assembly()->name.empty();
    return printable(is_named ? image.assembly()->name : image.path());
}

CompareReport unknown_status(const Side& side, GuestOffset at, const Error& cause) {
    CompareReport report = difference(CompareVerdict::status_unknown, at);
    report.error = cause;
    report.error->message = fmt::format("Sector allocation test failed for {}", name_of(side.image()));
    report.error->detail = cause.message;
    return report;
}

CompareReport unreadable(const Side& side, GuestOffset at, const Error& cause) {
    CompareReport report = difference(CompareVerdict::content_unreadable, at);
    report.error = cause;
    const bool has_errno = cause.system_errno != 0;
    report.error->message =
        fmt::format("Error while reading offset {} of {}: {}", at.bytes, name_of(side.image()),
                    has_errno ? errno_text(cause.system_errno) : cause.message);
    report.error->detail = has_errno ? cause.message : "";
    return report;
}

// Which parts have to be read, in guest order.
class Plan {
  public:
    Plan(Side& first, Side& second, bool strict)
        : first_(first),
          second_(second),
          strict_(strict),
          cluster_bytes_(
              std::max(largest_cluster_bytes(&first.image()), largest_cluster_bytes(&second.image()))),
          common_end_(std::min(first.size(), second.size())),
          end_(std::max(first.size(), second.size())) {}

    std::uint64_t size() const { return end_.bytes; }
    std::uint64_t cluster_bytes() const { return cluster_bytes_; }  // the largest of all layers
    // Where the shorter disk ends. No job goes over it.
    GuestOffset common_end() const { return common_end_; }

    // Fills in the next job; false at the end of the disks, or where something is to be reported: end().
    bool next(Job& job) {
        job.pieces.clear();
        job.bytes = 0;
        job.range = GuestRange(at_, 0);
        const GuestOffset limit = at_ < common_end_ ? common_end_ : end_;
        for (unsigned extents = 0; extents < extents_per_job && at_ < limit && !report_; ++extents) {
            const bool fits = step(job, limit);
            if (!fits) break;
        }
        job.range = GuestRange::between(job.range.start, at_);
        return !job.range.empty();
    }
    // What the plan ends with once everything before has been found to be the same.
    const std::optional<CompareReport>& report() const { return report_; }

  private:
    // Goes on by one run; false when its data does not fit into the job any more.
    bool step(Job& job, GuestOffset limit) {
        if (strict_ && at_ >= strict_end_ && !check_status()) return false;
        const auto first = first_.run_at(at_, end_);
        if (!first) return stop(unknown_status(first_, at_, first.error()));
        const auto second = second_.run_at(at_, end_);
        if (!second) return stop(unknown_status(second_, at_, second.error()));
        std::uint64_t length = std::min({first->length, second->length, limit - at_});
        if (!(first->zero && second->zero) && !come_from_same_place(*first, *second)) {
            const std::uint64_t most = std::max(job_bytes_min, cluster_bytes_);
            if (job.bytes != 0 && length > most - job.bytes) return false;
            length = std::min(length, most);
            add(job, Piece{GuestRange(at_, length), !first->zero, !second->zero});
        }
        at_ += length;
        return true;
    }

    bool check_status() {
        const auto first = first_.status_at(at_);
        if (!first) return stop(unknown_status(first_, at_, first.error()));
        const auto second = second_.status_at(at_);
        if (!second) return stop(unknown_status(second_, at_, second.error()));
        if (first->status != second->status) return stop(difference(CompareVerdict::status_differs, at_));
        strict_end_ = std::min(first->range.end(), second->range.end());
        return true;
    }

    bool stop(CompareReport report) {
        report_ = std::move(report);
        return false;
    }

    static void add(Job& job, const Piece& piece) {
        job.bytes += piece.range.length;
        if (!job.pieces.empty()) {
            Piece& last = job.pieces.back();
            if (last.range.end() == piece.range.start && last.from_first == piece.from_first &&
                last.from_second == piece.from_second) {
                last.range.length += piece.range.length;
                return;
            }
        }
        job.pieces.push_back(piece);
    }

    Side& first_;
    Side& second_;
    bool strict_;
    std::uint64_t cluster_bytes_;
    GuestOffset common_end_;
    GuestOffset end_;
    GuestOffset at_;
    GuestOffset strict_end_;  // the status is the same up to here
    std::optional<CompareReport> report_;
};

// The first sector that differs; null spans are zeroes. Empty when there is none.
std::optional<std::size_t> first_difference(std::span<const std::byte> a, std::span<const std::byte> b) {
    const std::size_t bytes = std::max(a.size(), b.size());
    const auto is_same = [&](std::size_t from, std::size_t count) {
        if (a.empty()) return is_zero(b.subspan(from, count));
        if (b.empty()) return is_zero(a.subspan(from, count));
        return std::memcmp(a.data() + from, b.data() + from, count) == 0;
    };
    if (is_same(0, bytes)) return std::nullopt;
    std::size_t at = 0;
    while (at < bytes && is_same(at, std::min<std::size_t>(sector_bytes, bytes - at)))
        at += sector_bytes;
    return at;
}

CompareReport compare_piece(const Side& first, const Side& second, const Piece& piece, Buffers& buffers) {
    buffers.first.resize(piece.from_first ? piece.range.length : 0);
    buffers.second.resize(piece.from_second ? piece.range.length : 0);
    const GuestOffset start = piece.range.start;
    const auto read_first = first.read(start, buffers.first);
    if (!read_first) return unreadable(first, start, read_first.error());
    const auto read_second = second.read(start, buffers.second);
    if (!read_second) return unreadable(second, start, read_second.error());
    const auto at = first_difference(buffers.first, buffers.second);
    return at ? difference(CompareVerdict::content_differs, start + *at) : CompareReport{};
}

void run_job(const Side& first, const Side& second, Job& job, std::uint64_t read_bytes, Buffers& buffers) {
    job.report = CompareReport{};
    for (const Piece& piece : job.pieces) {
        for (GuestOffset at = piece.range.start; at < piece.range.end();) {
            Piece part = piece;
            part.range = GuestRange(at, std::min(read_bytes - at.bytes % read_bytes, piece.range.end() - at));
            job.report = compare_piece(first, second, part, buffers);
            if (job.report.verdict != CompareVerdict::identical) return;
            at = part.range.end();
        }
    }
}

// Takes jobs from the plan and looks at their results in the same order.
Result<CompareReport> run_plan(const Side& first, const Side& second, Plan& plan,
                               const CompareOptions& options, Progress& progress) {
    const std::size_t threads =
        options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
    std::vector<Job> slots(threads + spare_slots);
    std::vector<Buffers> buffers(threads);
    const std::uint64_t read_bytes = std::max(read_bytes_min, plan.cluster_bytes());
    Crew crew(threads, slots.size(), [&](std::size_t member, std::size_t slot) {
        run_job(first, second, slots[slot], read_bytes, buffers[member]);
    });
    bool size_mismatch_told = first.size() == second.size();
    std::uint64_t planned = 0;
    std::uint64_t seen = 0;
    for (bool more = true;;) {
        while (more && planned - seen < slots.size()) {
            more = plan.next(slots[planned % slots.size()]);
            if (more) crew.submit(planned++ % slots.size());
        }
        const bool is_over = seen == planned;
        Job* const job = is_over ? nullptr : &slots[seen % slots.size()];
        const bool at_tail = is_over ? !plan.report() : job->range.start >= plan.common_end();
        if (at_tail && !size_mismatch_told) {
            size_mismatch_told = true;
            if (options.on_size_mismatch) options.on_size_mismatch();
        }
        if (is_over) return plan.report().value_or(CompareReport{});
        crew.wait(seen++ % slots.size());
        if (job->report.verdict != CompareVerdict::identical) return job->report;
        progress.update(job->range.end().bytes, plan.size());
        if (progress.cancelled()) return fail(ErrorKind::cancelled, "interrupted");
    }
}

}  // namespace

Result<CompareReport> compare(const Image& first, const Image& second, const CompareOptions& options,
                              Progress& progress) {
    CompareReport report;
    if (options.strict && first.size() != second.size()) {
        report.verdict = CompareVerdict::sizes_differ;
        return report;
    }
    Side one(first);
    Side other(second);
    Plan plan(one, other, options.strict);
    report = TRY(run_plan(one, other, plan, options, progress));
    if (plan.size() == 0) progress.update(0, 0);
    return report;
}

}  // namespace qimg
