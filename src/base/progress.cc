// The Progress of callers who do not care.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/progress.hpp"

namespace qimg {

namespace {

class NoProgress final : public Progress {
  public:
    void update(std::uint64_t, std::uint64_t) override {}
};

}  // namespace

Progress& no_progress() {
    static NoProgress nobody;
    return nobody;
}

}  // namespace qimg
