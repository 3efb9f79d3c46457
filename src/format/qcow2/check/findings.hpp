// Findings: what a check has found so far, as numbers and as lines.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <string>

#include "format/qcow2/check.hpp"

namespace qimg::qcow2 {

class Findings {
  public:
    explicit Findings(const OnFinding& on_finding) : on_finding_(on_finding) {}

    CheckReport report;

    void say(const std::string& line) const {
        if (on_finding_) on_finding_(line);
    }
    void corruption(const std::string& line) {
        ++report.corruptions;
        say(line);
    }
    void check_error(const std::string& line) {
        ++report.check_errors;
        say(line);
    }

  private:
    const OnFinding& on_finding_;
};

}  // namespace qimg::qcow2
