// The course of a check: count, compare, rebuild or mend, copied flags, header bits.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/check/copied_flags.hpp"
#include "format/qcow2/check/findings.hpp"
#include "format/qcow2/check/refcount_comparison.hpp"
#include "format/qcow2/check/references.hpp"
#include "format/qcow2/check/snapshot_table_check.hpp"
#include "format/qcow2/refcount_structures.hpp"

namespace qimg::qcow2 {

namespace {

// As many as QEMU checks, too. Counts of more would not fit into ordinary memory.
constexpr std::uint64_t clusters_max = std::numeric_limits<std::int32_t>::max();

class Check {
  public:
    Check(Qcow2& image, Repair repair, const OnFinding& on_finding, Progress& progress)
        : image_(image), repair_(repair), progress_(progress), findings_(on_finding), snapshots_(image) {}

    Result<CheckReport> run();

  private:
    Result<void> count(Repair repair);
    Result<void> compare();
    Result<void> rebuild();
    Result<void> check_copied_flags();
    Result<void> mend_snapshot_table();
    Result<void> clear_header_bits();

    Qcow2& image_;
    Repair repair_;
    Progress& progress_;
    Findings findings_;
    SnapshotTableCheck snapshots_;
    std::unique_ptr<References> references_;
    std::unique_ptr<RefcountComparison> comparison_;
};

Result<CheckReport> Check::run() {
    TRY(snapshots_.read(repair_, findings_));
    TRY(count(repair_));
    CheckReport& report = findings_.report;
    report.total_clusters = image_.geometry().clusters_for(image_.size());
    report.allocated_clusters = references_->statistics().allocated;
    report.fragmented_clusters = references_->statistics().fragmented;
    report.compressed_clusters = references_->statistics().compressed;
    TRY(compare());
    TRY(check_copied_flags());
    report.image_end_offset = image_.geometry().offset_of(comparison_->highest_cluster() + 1).bytes;
    TRY(clear_header_bits());
    TRY(mend_snapshot_table());
    if (repair_ != Repair::none) TRY(image_.reload());
    progress_.update(1, 1);
    return report;
}

Result<void> Check::count(Repair repair) {
    const std::uint64_t file_bytes = TRY(image_.storage().size());
    if (image_.geometry().clusters_for(file_bytes) > clusters_max) {
        return fail_detailed(ErrorKind::unsupported, "File too large",
                             fmt::format("more than {} clusters", clusters_max));
    }
    comparison_.reset();
    references_ = std::make_unique<References>(image_, snapshots_.table().snapshots, repair, file_bytes,
                                               findings_, progress_);
    TRY(references_->count());
    comparison_ =
        std::make_unique<RefcountComparison>(image_, references_->refcount_table(), references_->counts());
    return {};
}

// Differences are first only told. Then it is known whether the refcounts can be mended one by one.
Result<void> Check::compare() {
    CheckReport& report = findings_.report;
    const CheckReport counted = report;
    const bool mends = repair_ != Repair::none;
    const bool is_silent = mends && references_->needs_rebuild();
    TRY(comparison_->compare({Repair::none, !mends, is_silent}, findings_));
    if (!mends) return {};
    if (references_->needs_rebuild() || comparison_->found_uncounted()) {
        if (repair_ == Repair::all) return rebuild();
        findings_.say("ERROR need to rebuild refcount structures");
        return fail_detailed(ErrorKind::corrupt, "Check failed: Input/output error",
                             "repair all, not only leaks");
    }
    if (!comparison_->found_difference()) return {};
    report.leaks = counted.leaks;
    report.corruptions = counted.corruptions;
    TRY(comparison_->compare({repair_, true, false}, findings_));
    return image_.barrier();
}

Result<void> Check::rebuild() {
    CheckReport& report = findings_.report;
    const CheckReport before = report;
    findings_.say("Rebuilding refcount structure");
    TRY(rebuild_refcounts(image_, references_->counts(), references_->refcount_table()));
    report.corruptions = 0;
    report.leaks = 0;
    TRY(count(Repair::none));
    report.corruptions_fixed += before.corruptions - std::min(before.corruptions, report.corruptions);
    report.leaks_fixed += before.leaks;
    // What remains are the old structures. They are not leaks that were found.
    const CheckReport after = report;
    TRY(comparison_->compare({Repair::leaks, true, false}, findings_));
    const bool is_broken = comparison_->found_uncounted() || report.corruptions != after.corruptions;
    report = after;
    if (is_broken) findings_.check_error("ERROR rebuilt refcount structure is still broken");
    return image_.barrier();
}

Result<void> Check::check_copied_flags() {
    const CheckReport& report = findings_.report;
    const bool is_whole = report.check_errors == 0 && report.corruptions == 0 && report.leaks == 0;
    const bool repairs = repair_ == Repair::all || (repair_ == Repair::leaks && is_whole);
    const bool all_ones = is_whole && !comparison_->found_difference() && !references_->counts().has_shared();
    CopiedFlags flags(image_, *comparison_, references_->tables(), references_->is_l1_alone(), all_ones);
    TRY(flags.check(repairs, findings_));
    return repairs ? image_.barrier() : Result<void>();
}

// The new table needs clusters: only with refcounts that are right is it known which are free.
Result<void> Check::mend_snapshot_table() {
    CheckReport& report = findings_.report;
    const bool is_rest_whole = report.check_errors == 0 && report.corruptions == 0;
    report.corruptions += snapshots_.corruptions();
    if (snapshots_.corruptions() == 0 || repair_ != Repair::all || !is_rest_whole) return {};
    TRY(snapshots_.rewrite());
    report.corruptions -= snapshots_.corruptions();
    report.corruptions_fixed += snapshots_.corruptions();
    return {};
}

Result<void> Check::clear_header_bits() {
    const CheckReport& report = findings_.report;
    constexpr std::uint64_t bits = disk::incompatible_dirty | disk::incompatible_corrupt;
    if (repair_ == Repair::none || report.check_errors != 0 || report.corruptions != 0) return {};
    if (!image_.header().is(bits)) return {};
    image_.header().incompatible &= ~bits;
    return image_.commit_header();
}

}  // namespace

Result<CheckReport> check_image(Qcow2& image, Repair repair, const OnFinding& on_finding,
                                Progress& progress) {
    return Check(image, repair, on_finding, progress).run();
}

Result<void> repair_refcounts(Qcow2& image, const OnFinding& on_finding) {
    const CheckReport report = TRY(check_image(image, Repair::all, on_finding, no_progress()));
    if (report.check_errors == 0 && report.corruptions == 0) return {};
    return failf(ErrorKind::corrupt,
                 "{}: the image was not closed cleanly and cannot be repaired by itself; run check",
                 printable(image.storage().name()));
}

}  // namespace qimg::qcow2
