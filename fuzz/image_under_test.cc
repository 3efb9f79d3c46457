// Opening, checking and reading by the ordinary operations.
// SPDX-License-Identifier: Apache-2.0
#include "image_under_test.hpp"

#include <fmt/core.h>

#include <cstdlib>

#include "cluster_roles.hpp"

namespace qimg::fuzz {

OpenOptions ImageUnderTest::open_options(Access access) const {
    OpenOptions options;
    options.format = "qcow2";
    options.access = access;
    return options;
}

Result<std::unique_ptr<Image>> ImageUnderTest::open(Access access) const {
    return Image::open(path_, open_options(access), *opener_);
}

bool ImageUnderTest::is_small() const {
    const auto image = open(Access::read_only);
    if (!image || (*image)->size() > disk_bytes_max || (*image)->size() == 0) return false;
    const qcow2::Header& header = qcow2_of(**image).header();
    return header.l1_entries < 5000 && header.refcount_table_clusters < 1000 && header.snapshot_count < 20;
}

std::optional<CheckReport> ImageUnderTest::check_with(Repair wanted) const {
    CheckOptions options;
    options.path = path_;
    options.open.format = "qcow2";
    options.open.for_repair = wanted != Repair::none;
    options.repair = wanted;
    auto report = check(options, *opener_);
    return report ? std::optional(*report) : std::nullopt;
}

bool ImageUnderTest::is_clean() const {
    const auto report = check_with(Repair::none);
    return report && report->corruptions == 0 && report->leaks == 0 && report->check_errors == 0;
}

bool ImageUnderTest::become_clean() const {
    if (!is_clean() && (!check_with(Repair::all) || !is_clean())) return false;
    const auto image = open(Access::read_only);
    return image && has_plain_roles(qcow2_of(**image));
}

std::optional<Bytes> ImageUnderTest::read_disk() const {
    const auto image = open(Access::read_only);
    if (!image) return std::nullopt;
    Bytes disk((*image)->size());
    if (!(*image)->read(GuestOffset(0), disk)) return std::nullopt;
    return disk;
}

void ImageUnderTest::broken(std::string_view what) const {
    CheckOptions options;
    options.path = path_;
    options.open.format = "qcow2";
    options.on_finding = [](const std::string& finding) { fmt::print(stderr, "{}\n", finding); };
    const auto report = check(options, *opener_);
    if (!report) fmt::print(stderr, "{}\n", report.error().message);
    fmt::print(stderr, "does not hold: {}\n", what);
    std::abort();
}

}  // namespace qimg::fuzz
