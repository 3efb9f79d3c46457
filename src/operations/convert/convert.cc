// Planning, working and writing side by side: several threads read and compress, one writes, in guest order.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/convert.hpp"

#include <algorithm>
#include <thread>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "image/opener.hpp"
#include "operations/convert/bitmaps.hpp"
#include "operations/convert/plan.hpp"
#include "operations/convert/runs.hpp"
#include "operations/convert/source.hpp"
#include "operations/convert/target.hpp"
#include "operations/crew.hpp"
#include "operations/rate_limit.hpp"

namespace qimg {

namespace {

// Small enough to be in a processor's cache between being read and being written. Compressing takes so long that
// still less is worth a thread's while.
constexpr std::uint64_t window_bytes = MiB;
constexpr std::uint64_t packed_window_bytes = 512 * KiB;
constexpr std::size_t spare_slots = 1;  // so that nobody waits for the next one to be planned

unsigned thread_count(const ConvertOptions& options) {
    if (options.threads != 0) return options.threads;
    return std::max(1u, std::thread::hardware_concurrency());
}

// A window's work and what came of it.
struct Slot {
    std::uint64_t number = 0;
    Work work;
    Result<void> result;
};

void warn(const ConvertOptions& options, const std::vector<std::string>& warnings) {
    if (!options.on_warning) return;
    for (const std::string& warning : warnings)
        options.on_warning(warning);
}

// How much there is to read: what progress is measured by.
Result<std::uint64_t> count_data(const Source& source, const PlanOptions& plan_options,
                                 const ConvertOptions& options) {
    Plan plan(source, plan_options);
    std::uint64_t bytes = 0;
    Window window;
    while (true) {
        const bool more = TRY(plan.next(window));
        warn(options, window.warnings);
        if (!more) return bytes;
        bytes += window.data_bytes();
    }
}

std::uint64_t copied_bytes(const Work& work) {
    std::uint64_t bytes = 0;
    for (const Run& run : work.runs) {
        if (run.kind != RunKind::zero) bytes += run.range.length;
    }
    return bytes;
}

Result<std::vector<RunMaker>> make_members(const Source& source, const RunOptions& options,
                                           std::size_t count) {
    std::vector<RunMaker> members;
    for (std::size_t i = 0; i < count; ++i) {
        RunMaker member = TRY(RunMaker::make(source, options));
        members.push_back(std::move(member));
    }
    return members;
}

// Windows are taken from the plan in order and get their places in order; so the target's bytes do not depend on
// the number of threads.
Result<std::uint64_t> copy(const Source& source, const PlanOptions& plan_options,
                           const RunOptions& run_options, const ConvertOptions& options, Target& target,
                           Progress& progress) {
    const std::uint64_t bytes_to_read = TRY(count_data(source, plan_options, options));
    Plan plan(source, plan_options);
    std::vector<RunMaker> members = TRY(make_members(source, run_options, thread_count(options)));
    std::vector<Slot> slots(members.size() + spare_slots);
    Turns turns;
    bool has_failed = false;  // guarded by turns
    Crew crew(members.size(), slots.size(), [&](std::size_t member, std::size_t index) {
        Slot& slot = slots[index];
        slot.result = members[member].make_runs(slot.work);
        turns.take(slot.number, [&] {
            if (slot.result && !has_failed) slot.result = target.place(slot.work);
            has_failed = has_failed || !slot.result;
        });
        if (slot.result) slot.result = target.write(slot.work);
    });
    const RateLimit limit(options.rate_limit);
    std::uint64_t planned = 0;
    std::uint64_t written = 0;
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_copied = 0;
    bool more = true;
    while (true) {
        while (more && planned - written < slots.size()) {
            Slot& slot = slots[planned % slots.size()];
            more = TRY(plan.next(slot.work.window));
            slot.number = planned;
            if (more) crew.submit(planned++ % slots.size());
        }
        if (written == planned) return bytes_copied;
        Slot& slot = slots[written % slots.size()];
        crew.wait(written++ % slots.size());
        TRY(slot.result);
        warn(options, slot.work.window.warnings);
        warn(options, slot.work.warnings);
        bytes_copied += copied_bytes(slot.work);
        const std::uint64_t step = slot.work.window.data_bytes();
        bytes_read += step;
        if (step != 0) progress.update(bytes_read, bytes_to_read);
        if (progress.cancelled()) return fail(ErrorKind::cancelled, "interrupted; nothing was written");
        limit.wait_after(bytes_copied);
    }
}

Result<void> check_options(const ConvertOptions& options) {
    const auto refuse = [](const char* text) { return fail(ErrorKind::invalid_argument, text); };
    if (options.sources.empty()) return refuse("Must specify image file name");
    if (options.snapshot && options.sources.size() > 1) {
        return refuse("No support for concatenating multiple snapshot");
    }
    if (options.part && options.sources.size() > 1) return refuse("only one source can have a part taken");
    if (options.sparse_bytes % sector_bytes != 0) return refuse("sparse size is not a multiple of 512");
    if (options.target_is_zero && !options.existing_target)
        return refuse("--target-is-zero requires use of -n flag");
    if (options.compress && options.target.format == "raw")
        return refuse("Compression not supported for this file format");
    if (options.compress && options.target.preallocation != Preallocation::off) {
        return refuse("Compression and preallocation not supported at the same time");
    }
    if (options.target.qcow2.is_encrypted)
        return fail(ErrorKind::unsupported,
                    "Encrypted images are not supported: only empty ones can be created");
    return {};
}

// Whether the first of the sources' files lies where its blocks can be the target's as well.
bool can_share(const Source& source, Storage* target) {
    if (target == nullptr) return false;
    const auto answer =
        share_blocks(source.first().format().data_storage(), HostRange(), *target, HostOffset(0));
    return answer.has_value() && *answer;
}

// Writing to an image while reading it would destroy it; so would writing to one that it stands on.
Result<void> check_not_a_source(const Source& source, const ConvertOptions& options) {
    if (!source.uses(options.target.path)) return {};
    return failf(
        ErrorKind::invalid_argument,
        "{}: is the source, or belongs to its backing chain; nothing was changed, choose another name",
        printable(options.target.path));
}

}  // namespace

Result<ConvertReport> convert(const ConvertOptions& options, Opener& opener, Progress& progress) {
    TRY(check_options(options));
    const Source source = TRY(Source::open(options, opener));
    TRY(check_not_a_source(source, options));
    const std::uint64_t size = options.target.size.value_or(source.size());
    if (size < source.size())
        return fail(ErrorKind::invalid_argument, "output file is smaller than input file");
    ConvertReport report;
    if (options.bitmaps) report.skipped_bitmaps = TRY(check_bitmaps(source, options));
    Target target = TRY(Target::open(options, size, opener, progress));
    if (options.bitmaps) TRY(check_takes_bitmaps(target.image()));

    PlanOptions plan;
    plan.size = options.existing_target ? source.size() : size;
    plan.unit = target.unit();
    plan.window_bytes =
        std::max(options.compress ? packed_window_bytes : window_bytes, source.cluster_bytes_max());
    plan.keep_zeroes = options.sparse_bytes != 0;
    RunOptions runs;
    runs.unit = target.unit();
    runs.sparse_bytes = options.sparse_bytes;
    runs.level = options.compression_level;
    if (target.compresses()) runs.codec = target.codec();
    if (!options.compression_level && !options.salvage) plan.verbatim_codec = runs.codec;
    plan.share_with = target.shares_blocks(options);
    // space of the target's own is not to be had there, so zeroes need not be written for it
    if (can_share(source, plan.share_with)) plan.keep_zeroes = true;
    if (!options.existing_target && target.base() != nullptr) {
        plan.base = runs.base = target.base();
        plan.base_depth = source.depth_of(target.base()->path());
    }
    plan.salvage = runs.salvage = options.salvage;
    report.size = size;
    report.bytes_copied = TRY(copy(source, plan, runs, options, target, progress));
    const Result<void> kept = options.bitmaps ? copy_bitmaps(source, target.image()) : Result<void>();
    // what was there before has the new data, though not every bitmap
    if (!kept && !options.existing_target) return std::unexpected<Error>(kept.error());
    TRY(target.finish());
    TRY(kept);
    progress.update(1, 1);
    return report;
}

}  // namespace qimg
