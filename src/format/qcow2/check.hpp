// check: what the tables refer to, against what the refcounts say.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "format/qcow2/qcow2.hpp"
#include "qimg/check_report.hpp"
#include "qimg/error.hpp"
#include "qimg/progress.hpp"

namespace qimg::qcow2 {

// Counts and findings of a check; with `repair`, mends what it may. The fields `path` and `format` are left
// to the caller. Errors: only what keeps a check from being made at all.
Result<CheckReport> check_image(Qcow2& image, Repair repair,
                                const std::function<void(const std::string&)>& on_finding, Progress& progress);

}  // namespace qimg::qcow2
