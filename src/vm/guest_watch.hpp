// Follows one running guest, by its console log and its domain's state, until it came as far as asked or
// cannot any more. Decides nothing about what to do then.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "qimg/vm.hpp"
#include "vm/console_progress.hpp"
#include "vm/hypervisor.hpp"

namespace qimg::vm {

enum class Verdict {
    reached,
    unreadable,  // reached as far as can be told: the console log may not be read by this user
    guest_off,   // the guest powered itself off before it came that far
    destroyed,   // somebody switched the domain off
    failed,      // the guest panicked, or QEMU could not go on
    silent,      // with doubtful KVM: no output for so long that it hangs, most likely
    timed_out,
    interrupted,  // the observer cancelled
};

struct WatchOptions {
    Until until = Until::ready;
    std::chrono::milliseconds timeout{0};
    bool doubtful_kvm = false;  // no guest has shown yet that KVM works here
};

class GuestWatch {
  public:
    GuestWatch(const Hypervisor& hypervisor, const Domain& domain, std::string console_log,
               Observer& observer);

    Result<Verdict> run(const WatchOptions& options);

    const ConsoleProgress& progress() const { return progress_; }
    Stage reached() const { return reached_; }
    // What the domain's state was when `failed` was the verdict.
    const std::string& state() const { return state_; }

  private:
    using Clock = std::chrono::steady_clock;

    Result<void> read_console();
    void tell_stages();
    bool came_far_enough(Until until) const;
    bool is_silent(Clock::time_point now, const WatchOptions& options) const;
    Result<std::optional<Verdict>> look_at_domain();

    const Hypervisor& hypervisor_;
    const Domain& domain_;
    std::string uuid_;
    std::string console_log_;
    Observer& observer_;
    ConsoleProgress progress_;
    Fd log_;
    off_t log_read_ = 0;
    bool log_denied_ = false;
    Clock::time_point last_output_;
    Stage reached_ = Stage::started;
    std::string state_;
};

}  // namespace qimg::vm
