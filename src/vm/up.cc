// up: makes a sandbox, or takes a stopped one, and starts it. The checks come first, the folder next, the
// domain last; what goes wrong before the domain runs is undone.
// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <ctime>
#include <filesystem>

#include "base/text.hpp"
#include "base/try.hpp"
#include "vm/boot.hpp"
#include "vm/open_sandbox.hpp"
#include "vm/preflight.hpp"

namespace qimg::vm {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t first_bytes =
    4 * MiB;  // an empty overlay, the ISO's own structures, XML, first writes

std::chrono::milliseconds since(Clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
}

Result<void> check_cancelled(const Observer& observer) {
    if (observer.cancelled()) return fail(ErrorKind::cancelled, "interrupted; nothing was left behind");
    return {};
}

SeedOptions seed_of(const NewSandbox& wanted, const std::string& name) {
    SeedOptions seed = wanted.seed;
    if (seed.hostname.empty()) seed.hostname = name;
    // cloud-init takes a guest with another instance-id for a new one, so that no two sandboxes share theirs
    if (seed.instance_id.empty() && !seed.meta_data)
        seed.instance_id = fmt::format("{}-{}", name, random_uuid());
    return seed;
}

std::uint64_t bytes_of_seed(const Seed& seed) {
    std::uint64_t bytes = first_bytes;
    for (const VolumeFile& file : seed.files)
        bytes += file.contents.size();
    return bytes;
}

// The way to the folder of a sandbox that is not there yet.
Result<void> check_way_to(const std::string& folder, const FileUser& user) {
    fs::path existing = folder;
    std::error_code ignored;
    while (existing.has_relative_path() && !fs::exists(existing, ignored))
        existing = existing.parent_path();
    return check_access(existing, FileNeed::search, user);
}

Result<Record> plan_record(const UpOptions& options, const Hypervisor& hypervisor) {
    std::error_code problem;
    Record record;
    record.name = options.name;
    record.connection = hypervisor.uri();
    record.base = fs::absolute(options.create->base, problem).lexically_normal();
    record.expand = options.create->expand;
    record.machine = options.create->machine;
    record.machine.network = TRY(decide_network(hypervisor, options.create->machine));
    record.uuid = random_uuid();
    record.mac = random_mac();
    record.created = iso8601(std::time(nullptr));
    return record;
}

Result<void> check_machine(const Machine& machine) {
    if (machine.cpus == 0) return fail(ErrorKind::invalid_argument, "a guest needs at least one processor");
    if (machine.memory_bytes >= 16 * MiB) return {};
    return failf(ErrorKind::invalid_argument, "{} of memory: no guest boots with less than 16 MiB",
                 format_size(machine.memory_bytes));
}

Result<void> check_before(const UpOptions& options, const Place& place, const Hypervisor& hypervisor,
                          const HostFacts& host, const Seed& seed, Observer& observer) {
    const FileUser qemu = qemu_file_user(host);
    std::vector<std::string> warnings = seed.warnings;
    TRY(check_domain_name(hypervisor, options.name));
    TRY(check_base(options.create->base, options.create->base_format, place.folder, qemu, warnings));
    TRY(check_unchanged(options.create->base, options.create->base_format, place.folder));
    TRY(check_way_to(place.folder, qemu));
    TRY(check_space(place.folder, bytes_of_seed(seed)));
    for (const std::string& warning : warnings)
        observer.warning(warning);
    return check_cancelled(observer);
}

// Everything that is undone when it fails.
Result<Running> make_and_launch(Session& session, const UpOptions& options, const SeedOptions& seed) {
    const SandboxFolder& folder = session.folder;
    TRY(folder.create());
    Rollback rollback(folder);
    const Fd lock = TRY(folder.lock());
    TRY(make_disk(folder, session.record, options.create->disk, options.create->base_format));
    TRY(make_seed(seed, folder.seed()));
    TRY(hand_over(folder, session.host));
    TRY(folder.write_record(session.record));
    session.observer.stage(Stage::created, folder.path());
    TRY(check_cancelled(session.observer));
    Running running = TRY(start_guest(session, options.wait.accel));
    rollback.complete();
    return running;
}

Result<UpReport> make_and_start(const UpOptions& options, const Place& place, Clock::time_point start,
                                Observer& observer) {
    TRY(check_machine(options.create->machine));
    const SandboxFolder folder(place.folder, options.name);
    const SeedOptions seed_options = seed_of(*options.create, options.name);
    const Seed seed = TRY(compose_seed(seed_options));
    TRY(folder.check_free());
    const Hypervisor hypervisor = TRY(Hypervisor::connect(place.connection));
    const HostFacts host = TRY(hypervisor.host_facts());
    Record record = TRY(plan_record(options, hypervisor));
    TRY(check_before(options, place, hypervisor, host, seed, observer));

    Session session{hypervisor, folder, host, std::move(record), observer, true};
    Running running = TRY(make_and_launch(session, options, seed_options));
    const auto until_started = since(start);
    UpReport report = TRY(follow_guest(session, std::move(running), options.wait));
    report.until_started = until_started;
    return report;
}

Result<Running> launch_again(Session& session, Accel accel) {
    const Fd lock = TRY(session.folder.lock());
    std::vector<std::string> warnings;  // were told when it was made
    TRY(check_domain_name(session.hypervisor, session.record.name));
    TRY(check_base(session.folder.disk(), "qcow2", session.folder.place(), qemu_file_user(session.host),
                   warnings));
    TRY(check_unchanged(session.folder.disk(), "qcow2", session.folder.place(), session.record.name));
    TRY(check_cancelled(session.observer));
    return start_guest(session, accel);
}

Result<UpReport> start_again(const UpOptions& options, Clock::time_point start, Observer& observer) {
    const OpenSandbox sandbox = TRY(open_sandbox(options.name, options.place));
    const auto active = TRY(active_domain(sandbox));
    UpReport report;
    if (active) {
        report.folder = sandbox.folder.path();
        report.was_running = true;
        report.accel = sandbox.record.accel;
        report.reached = Stage::started;
        report.address = active->address();
        return report;
    }
    const HostFacts host = TRY(sandbox.hypervisor.host_facts());
    Session session{sandbox.hypervisor, sandbox.folder, host, sandbox.record, observer, false};
    Running running = TRY(launch_again(session, options.wait.accel));
    const auto until_started = since(start);
    report = TRY(follow_guest(session, std::move(running), options.wait));
    report.until_started = until_started;
    return report;
}

}  // namespace

Result<UpReport> up(const UpOptions& options, Observer& observer) {
    const auto start = Clock::now();
    TRY(check_name(options.name));
    const Place place = resolve(options.place);
    auto report = options.create ? make_and_start(options, place, start, observer)
                                 : start_again(options, start, observer);
    if (report) report->total = since(start);
    return report;
}

Result<std::string> planned_xml(const UpOptions& options) {
    TRY(check_name(options.name));
    if (!options.create) return fail(ErrorKind::invalid_argument, "a plan needs a base image");
    TRY(check_machine(options.create->machine));
    const Place place = resolve(options.place);
    Record record;
    record.name = options.name;
    record.machine = options.create->machine;
    if (record.machine.network.empty()) {
        record.machine.network =
            is_system(place.connection) && record.machine.forwards.empty() ? "default" : "user";
    }
    HostFacts host;  // nobody is asked: a common machine, with KVM where it may be opened
    host.kvm = options.wait.accel == Accel::kvm || ::access("/dev/kvm", R_OK | W_OK) == 0;
    bool doubtful = false;
    const bool kvm = TRY(choose_kvm(options.wait.accel, host, doubtful));
    return domain_of(record, SandboxFolder(place.folder, options.name), host, kvm);
}

Result<UpReport> reset(const ResetOptions& options, Observer& observer) {
    const auto start = Clock::now();
    const OpenSandbox sandbox = TRY(open_sandbox(options.name, options.place));
    TRY(check_not_a_base(sandbox, "made new"));
    const HostFacts host = TRY(sandbox.hypervisor.host_facts());
    Session session{sandbox.hypervisor, sandbox.folder, host, sandbox.record, observer, true};
    std::optional<Running> running;
    {
        const Fd lock = TRY(sandbox.folder.lock());
        std::vector<std::string> warnings;
        TRY(check_base(sandbox.record.base, sandbox.record.base_format, sandbox.folder.place(),
                       qemu_file_user(host), warnings));
        TRY(check_unchanged(sandbox.record.base, sandbox.record.base_format, sandbox.folder.place()));
        warn_of_changed_base(sandbox.folder.disk(), sandbox.folder.place(), warnings);
        for (const std::string& warning : warnings)
            observer.warning(warning);
        const auto active = TRY(active_domain(sandbox));
        if (active) TRY(active->destroy());
        TRY(make_disk(sandbox.folder, session.record,
                      SizeChange{SizeChange::Kind::absolute, sandbox.record.disk_bytes},
                      sandbox.record.base_format));
        TRY(hand_over(sandbox.folder, host));
        observer.stage(Stage::created, sandbox.folder.path());
        if (options.start) {
            Running started = TRY(start_guest(session, options.wait.accel));
            running = std::move(started);
        }
    }
    UpReport report;
    report.folder = sandbox.folder.path();
    if (running) {
        const auto until_started = since(start);
        report = TRY(follow_guest(session, std::move(*running), options.wait));
        report.until_started = until_started;
    }
    report.total = since(start);
    return report;
}

}  // namespace qimg::vm
