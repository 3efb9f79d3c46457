// Follows one running guest, by its console log and its domain's state, until it came as far as asked or
// cannot any more. Decides nothing about what to do then.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
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
    failed,      // the guest panicked, or QEMU could not go on: see failure()
    silent,      // with doubtful KVM: it hangs or starts over and over, most likely
    timed_out,
    interrupted,  // the observer cancelled
};

enum class Failure {
    none,
    panic,    // the kernel's own message
    stopped,  // QEMU paused the guest for good, as after an internal error of KVM
    disk,     // QEMU paused the guest because of an I/O error
    ended,    // QEMU itself failed
};

// How long a guest may print nothing, while it is in doubt whether KVM works, before it counts as hanging. A
// kernel under a KVM that works prints within a few seconds, a boot loader's menu included.
struct Patience {
    std::chrono::milliseconds at_start{20'000};
    std::chrono::milliseconds before_kernel{45'000};
    std::chrono::milliseconds until_kernel{120'000};  // from the start, however much is printed meanwhile
    // from the kernel's last message to user space's first; absent: for ever
    std::optional<std::chrono::milliseconds> before_user_space;
};

struct WatchOptions {
    Until until = Until::ready;
    std::chrono::milliseconds timeout{0};
    bool doubtful_kvm = false;  // no guest has shown yet that KVM works here
    Patience patience = {};     // of no use without doubt
};

class GuestWatch {
  public:
    GuestWatch(const Hypervisor& hypervisor, const Domain& domain, std::string console_log,
               Observer& observer);

    Result<Verdict> run(const WatchOptions& options);

    const ConsoleProgress& progress() const { return progress_; }
    Stage reached() const { return reached_; }
    // Why `failed` was the verdict, and the words for it.
    Failure failure() const { return failure_; }
    const std::string& state() const { return state_; }

  private:
    using Clock = std::chrono::steady_clock;

    Result<void> read_console();
    void tell_stages();
    bool came_far_enough(const WatchOptions& options) const;
    bool is_silent(Clock::time_point start, Clock::time_point now, const WatchOptions& options) const;
    Result<std::optional<Verdict>> look_at_domain();
    Verdict fail_with(Failure failure, std::string state);

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
    Failure failure_ = Failure::none;
    std::string state_;
};

}  // namespace qimg::vm
