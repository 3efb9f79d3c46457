// The only signal that goes up from an operation: how far it is, and whether it shall stop.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace qimg {

class Progress {
  public:
    virtual ~Progress() = default;
    // Called now and then from the operation's own thread; `done` never decreases and ends at `total`, which
    // grows when there is more to do than was known.
    virtual void update(std::uint64_t done, std::uint64_t total) = 0;
    // True makes the operation end with ErrorKind::cancelled at the next safe point.
    virtual bool cancelled() const { return false; }
};

// Ignores everything.
Progress& no_progress();

}  // namespace qimg
