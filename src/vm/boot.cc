// Starting a domain, and the words for a guest that does not come as far as it should.
// SPDX-License-Identifier: Apache-2.0
#include "vm/boot.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/text.hpp"
#include "base/try.hpp"
#include "qimg/operations/create.hpp"
#include "qimg/operations/expand.hpp"
#include "vm/domain_xml.hpp"
#include "vm/guest_watch.hpp"
#include "vm/kvm.hpp"

namespace qimg::vm {

namespace {

constexpr std::size_t tail_lines = 15;
constexpr auto patience_before_user_space = std::chrono::seconds(90);

// Only root can give files away. Then libvirt is told to leave every owner alone: it would not only take the
// overlay but also the base, and not give that back when the domain ends.
bool gives_files_away(const HostFacts& host) {
    return ::geteuid() == 0 && host.qemu_user.has_value();
}

Result<Domain> start_domain(Session& session, bool kvm) {
    const std::string xml = domain_of(session.record, session.folder, session.host, kvm);
    TRY(session.folder.write_domain(xml));
    // what the last run printed would be taken for this one's
    if (::unlink(session.folder.console_log().c_str()) != 0 && errno != ENOENT) {
        return fail_errno(errno, session.folder.console_log(), "cannot remove the old console log");
    }
    session.hypervisor.forget_ending(session.record.uuid);
    auto domain = session.hypervisor.start(session.record.name, xml);
    if (!domain) return domain;
    session.record.started = std::time(nullptr);
    session.record.accel = kvm ? Accel::kvm : Accel::tcg;
    TRY(session.folder.write_record(session.record));
    session.observer.stage(Stage::started, kvm ? "KVM" : "software emulation (TCG)");
    return domain;
}

std::string_view awaited_text(Until until) {
    switch (until) {
        case Until::console:
            return "output on the serial console";
        case Until::login:
        case Until::ready:
            return "login prompt";
        case Until::cloud_init:
            return "end of cloud-init";
        case Until::off:
            return "power-off";
        default:
            return "start";
    }
}

std::string what_was_missed(const GuestWatch& watch, Until until) {
    if (until == Until::ready && watch.progress().saw_login())
        return std::string(awaited_text(Until::cloud_init));
    return std::string(awaited_text(until));
}

std::string last_seen(const GuestWatch& watch) {
    if (watch.reached() == Stage::started) {
        return "nothing came on its serial console: the image does not boot, or its kernel does not use "
               "console=ttyS0";
    }
    return fmt::format("last seen: {}: '{}'", stage_text(watch.reached()), watch.progress().last_line());
}

std::unexpected<Error> fail_watch(Session& session, const GuestWatch& watch, Verdict verdict,
                                  const WaitOptions& options) {
    const std::string& name = session.record.name;
    const std::string missed = what_was_missed(watch, options.until);
    session.observer.console_tail(watch.progress().last_lines(tail_lines));
    const std::string seen = last_seen(watch);
    switch (verdict) {
        case Verdict::guest_off:
            return failf(
                ErrorKind::io,
                "{}: the guest powered itself off before its {}; {}; use --until off if it is meant to, "
                "'vmbox up {}' starts it again, 'vmbox rm {}' removes it",
                name, missed, seen, name, name);
        case Verdict::destroyed:
            return failf(ErrorKind::io, "{}: the domain was switched off by somebody before its {}; {}", name,
                         missed, seen);
        case Verdict::failed:
            return failf(
                ErrorKind::io,
                "{}: the guest failed ({}) before its {}; {}; libvirt's log of the domain may say why, "
                "'vmbox rm {}' removes it",
                name, watch.state(), missed, seen, name);
        default:
            return failf(
                ErrorKind::io,
                "{}: no {} after {} s; {}; it goes on running: look at it with 'vmbox console {}', remove "
                "it with 'vmbox rm {}'",
                name, missed, options.timeout.count(), seen, name, name);
    }
}

std::string why_not_kvm(const GuestWatch& watch) {
    switch (watch.failure()) {
        case Failure::none:
            return watch.reached() == Stage::started ? "the guest printed nothing under KVM"
                                                     : "the guest printed nothing more under KVM";
        case Failure::panic:
            return "the guest's kernel panicked under KVM";
        case Failure::ended:
            return "QEMU failed under KVM";
        default:
            return "under KVM the domain is " + watch.state();
    }
}

// KVM failed or hung: the same sandbox once more, without it.
Result<Running> restart_without_kvm(Session& session, const Running& running, const GuestWatch& watch) {
    session.observer.warning(
        fmt::format("{}: {}; KVM seems not to work here, starting again with software emulation",
                    session.record.name, why_not_kvm(watch)));
    const Fd lock = TRY(session.folder.lock());
    TRY(running.domain.destroy());
    if (session.disposable_disk) {
        TRY(make_disk(session.folder, session.record,
                      SizeChange{SizeChange::Kind::absolute, session.record.disk_bytes},
                      session.record.base_format));
        TRY(hand_over(session.folder, session.host));
    }
    Domain domain = TRY(start_domain(session, false));
    return Running{.domain = std::move(domain)};
}

// Only a guest's own output proves anything: user space, or a power-off after some output, for KVM …
void remember_that_kvm_works(const GuestWatch& watch, Verdict verdict) {
    const bool ended = verdict == Verdict::guest_off && watch.reached() >= Stage::console;
    if (ended || watch.progress().saw_user_space()) remember_kvm(true);
}

// … and against it that the same guest came further without.
void remember_that_kvm_fails(Stage reached_under_kvm, const GuestWatch& watch, Verdict verdict) {
    const bool succeeded = verdict == Verdict::guest_off || verdict == Verdict::reached;
    const bool further = watch.reached() > reached_under_kvm;
    if (further || (succeeded && watch.reached() >= Stage::console)) remember_kvm(false);
}

// A guest whose disk can be made anew may be started again even when its kernel came as far as its first
// process; what a user has on a disk is worth more than the wait.
WatchOptions watch_options(const Session& session, const Running& running, const WaitOptions& options) {
    WatchOptions watching{options.until, options.timeout, running.doubtful_kvm};
    if (session.disposable_disk) watching.patience.before_user_space = patience_before_user_space;
    // nobody waits, but whether KVM works must be seen before the guest is left alone
    if (options.until == Until::started && running.doubtful_kvm) watching.until = Until::console;
    return watching;
}

}  // namespace

std::string domain_of(const Record& record, const SandboxFolder& folder, const HostFacts& host, bool kvm) {
    DomainPlan plan;
    plan.name = record.name;
    plan.uuid = record.uuid;
    plan.mac = record.mac;
    plan.machine = record.machine;
    plan.disk = folder.disk();
    plan.seed = folder.seed();
    plan.console_log = folder.console_log();
    plan.kvm = kvm;
    plan.host = host;
    if (gives_files_away(host)) plan.run_as = host.qemu_user;
    return domain_xml(plan);
}

Result<bool> choose_kvm(Accel wanted, const HostFacts& host, bool& doubtful) {
    doubtful = false;
    if (wanted == Accel::tcg) return false;
    if (wanted == Accel::kvm) {
        if (host.kvm) return true;
        return fail(
            ErrorKind::unsupported,
            "KVM: libvirt does not offer it here (no usable /dev/kvm); use --accel tcg or --accel auto");
    }
    if (!host.kvm) return false;
    if (const auto known = remembered_kvm()) return *known;
    doubtful = kvm_probe();
    return doubtful;
}

Result<Running> start_guest(Session& session, Accel accel) {
    bool doubtful = false;
    const bool kvm = TRY(choose_kvm(accel, session.host, doubtful));
    auto domain = start_domain(session, kvm);
    if (domain) return Running{std::move(*domain), kvm, kvm && accel == Accel::automatic, doubtful};
    if (!kvm || accel == Accel::kvm) return std::unexpected(domain.error());
    session.observer.warning(
        fmt::format("{}; starting it with software emulation instead of KVM", domain.error().message));
    Domain emulated = TRY(start_domain(session, false));
    remember_kvm(false);  // nothing but KVM kept the domain from starting
    return Running{.domain = std::move(emulated)};
}

bool is_kvms_fault(Verdict verdict, Failure failure, bool doubtful) {
    if (verdict == Verdict::silent) return true;
    if (verdict != Verdict::failed) return false;
    switch (failure) {
        case Failure::stopped:
            return true;
        case Failure::panic:
        case Failure::ended:
            return doubtful;
        default:
            return false;
    }
}

Result<UpReport> follow_guest(Session& session, Running running, const WaitOptions& options) {
    std::optional<GuestWatch> watch;
    watch.emplace(session.hypervisor, running.domain, session.folder.console_log(), session.observer);
    Verdict verdict = TRY(watch->run(watch_options(session, running, options)));
    if (running.may_fall_back && is_kvms_fault(verdict, watch->failure(), running.doubtful_kvm)) {
        const bool was_doubtful = running.doubtful_kvm;
        const Stage reached = watch->reached();
        running = TRY(restart_without_kvm(session, running, *watch));
        watch.emplace(session.hypervisor, running.domain, session.folder.console_log(), session.observer);
        verdict = TRY(watch->run(watch_options(session, running, options)));
        if (was_doubtful) remember_that_kvm_fails(reached, *watch, verdict);
    } else if (running.doubtful_kvm) {
        remember_that_kvm_works(*watch, verdict);
    }

    UpReport report;
    report.folder = session.folder.path();
    report.accel = running.kvm ? Accel::kvm : Accel::tcg;
    report.reached = watch->reached();
    report.interrupted = verdict == Verdict::interrupted;
    const bool off =
        verdict == Verdict::guest_off && (options.until == Until::off || options.until == Until::started);
    if (verdict == Verdict::unreadable) {
        session.observer.warning(fmt::format("{}: this user may not read it, so nobody waits for the guest",
                                             printable(session.folder.console_log())));
    } else if (off) {
        report.reached = Stage::off;
        session.observer.stage(Stage::off, "");
        return report;
    } else if (verdict != Verdict::reached && !report.interrupted) {
        return fail_watch(session, *watch, verdict, options);
    }
    report.address = running.domain.address();
    return report;
}

// What is left to the guest, cloud-init does there.
static Result<void> expand_disk(const std::string& disk) {
    ExpandOptions options;
    options.path = disk;
    options.open.format = "qcow2";
    TRY(expand(options));
    return {};
}

Result<void> make_disk(const SandboxFolder& folder, Record& record, const std::optional<SizeChange>& size,
                       const std::optional<std::string>& base_format) {
    const std::string fresh = folder.fresh_disk();
    if (::unlink(fresh.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, fresh, "cannot remove");
    const SnapReport made =
        TRY(snap({.base = record.base, .overlay = fresh, .size = size, .base_format = base_format}));
    if (record.expand) TRY(expand_disk(fresh));
    if (::rename(fresh.c_str(), folder.disk().c_str()) != 0) {
        return fail_errno(errno, folder.disk(), "cannot put the fresh overlay in its place");
    }
    const Fd entry(::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (entry) ::fsync(entry.get());
    record.disk_bytes = made.size;
    record.base_format = made.base_format;
    return {};
}

Result<void> hand_over(const SandboxFolder& folder, const HostFacts& host) {
    for (const std::string& path : {folder.disk(), folder.seed()}) {
        if (::chmod(path.c_str(), 0600) != 0) return fail_errno(errno, path, "cannot set its mode");
        if (gives_files_away(host) && ::chown(path.c_str(), host.qemu_user->uid, host.qemu_user->gid) != 0) {
            return fail_errno(errno, path, "cannot give it to QEMU's user");
        }
    }
    if (!host.qemu_user) return {};
    if (::chmod(folder.path().c_str(), 0711) != 0)
        return fail_errno(errno, folder.path(), "cannot set its mode");
    return {};
}

}  // namespace qimg::vm
