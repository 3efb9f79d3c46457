// The loop that waits for a guest.
// SPDX-License-Identifier: Apache-2.0
#include "vm/guest_watch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vm {

namespace {

using namespace std::chrono_literals;

constexpr auto poll_interval = 200ms;
constexpr auto state_interval = 1s;

}  // namespace

GuestWatch::GuestWatch(const Hypervisor& hypervisor, const Domain& domain, std::string console_log,
                       Observer& observer)
    : hypervisor_(hypervisor),
      domain_(domain),
      uuid_(domain.uuid()),
      console_log_(std::move(console_log)),
      observer_(observer) {}

Result<Verdict> GuestWatch::run(const WatchOptions& options) {
    const auto start = Clock::now();
    auto next_state = start;
    last_output_ = start;
    while (true) {
        TRY(read_console());
        tell_stages();
        if (came_far_enough(options)) return Verdict::reached;
        if (progress_.saw_panic()) return fail_with(Failure::panic, "kernel panic");
        if (log_denied_ && options.until != Until::off) return Verdict::unreadable;
        const auto now = Clock::now();
        if (now >= next_state || hypervisor_.ending(uuid_)) {
            const auto verdict = TRY(look_at_domain());
            if (verdict) return *verdict;
            next_state = now + state_interval;
        }
        if (observer_.cancelled()) return Verdict::interrupted;
        if (is_silent(start, now, options)) return Verdict::silent;
        const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(now - start);
        if (waited >= options.timeout) return Verdict::timed_out;
        observer_.waiting(waited, progress_.last_line());
        hypervisor_.wait(poll_interval);
    }
}

Result<void> GuestWatch::read_console() {
    if (!log_) log_ = Fd(::open(console_log_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!log_) {
        log_denied_ = errno == EACCES || errno == EPERM;
        return {};  // libvirt makes it when the domain starts
    }
    std::array<char, 16 * KiB> piece;
    while (true) {
        const ssize_t got = ::pread(log_.get(), piece.data(), piece.size(), log_read_);
        if (got < 0 && errno != EINTR) return fail_errno(errno, console_log_, "cannot read the console log");
        if (got == 0) return {};
        if (got < 0) continue;
        progress_.feed(std::string_view(piece.data(), static_cast<std::size_t>(got)));
        log_read_ += got;
        last_output_ = Clock::now();
    }
}

void GuestWatch::tell_stages() {
    const Stage now = progress_.stage();
    if (now <= reached_) return;
    reached_ = now;
    observer_.stage(now, progress_.last_line());
}

bool GuestWatch::came_far_enough(const WatchOptions& options) const {
    switch (options.until) {
        case Until::started:
            return true;
        case Until::console:
            // firmware and boot loaders also run under a KVM that no kernel boots with
            return progress_.stage() >= (options.doubtful_kvm ? Stage::kernel : Stage::console);
        case Until::login:
            return progress_.saw_login();
        case Until::cloud_init:
            return progress_.saw_cloud_init_end();
        case Until::ready:
            return progress_.saw_login() && (progress_.saw_cloud_init_end() || !progress_.saw_cloud_init());
        default:
            return false;
    }
}

bool GuestWatch::is_silent(Clock::time_point start, Clock::time_point now,
                           const WatchOptions& options) const {
    if (!options.doubtful_kvm || log_denied_ || progress_.saw_user_space()) return false;
    const Patience& patience = options.patience;
    const auto silence = now - last_output_;
    switch (progress_.stage()) {
        case Stage::started:
            return silence >= patience.at_start;
        case Stage::console:
            return silence >= patience.before_kernel || now - start >= patience.until_kernel;
        default:
            return patience.before_user_space && silence >= *patience.before_user_space;
    }
}

Result<std::optional<Verdict>> GuestWatch::look_at_domain() {
    const DomainStatus status = TRY(domain_.status());
    if (status.active) {
        // the end of the domain's last run may be told late
        hypervisor_.forget_ending(uuid_);
        if (!status.broken) return std::optional<Verdict>();
        return std::optional<Verdict>(
            fail_with(status.disk_failed ? Failure::disk : Failure::stopped, status.text));
    }
    // the event says why, so it is waited for a little when the state was faster
    if (!hypervisor_.ending(uuid_)) hypervisor_.wait(state_interval);
    const Ending ending = hypervisor_.ending(uuid_).value_or(Ending::destroyed);
    TRY(read_console());
    tell_stages();
    if (ending == Ending::crashed) return std::optional<Verdict>(fail_with(Failure::ended, "QEMU failed"));
    return std::optional<Verdict>(ending == Ending::guest_off ? Verdict::guest_off : Verdict::destroyed);
}

Verdict GuestWatch::fail_with(Failure failure, std::string state) {
    failure_ = failure;
    state_ = std::move(state);
    return Verdict::failed;
}

}  // namespace qimg::vm
