// What can be done with a sandbox that exists, but starting it: list, stop, remove, look at.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <ctime>
#include <map>
#include <memory>

#include "base/text.hpp"
#include "base/try.hpp"
#include "qimg/storage.hpp"
#include "vm/open_sandbox.hpp"

namespace qimg::vm {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t text_bytes_max = 256 * MiB;  // a console log that nobody rotates grows long

// Waits until the domain is gone. False when the time is over before that, or the observer cancels.
Result<bool> wait_until_off(const OpenSandbox& sandbox, const Domain& domain,
                            std::chrono::milliseconds timeout, Observer& observer) {
    const auto start = Clock::now();
    while (true) {
        const DomainStatus status = TRY(domain.status());
        if (!status.active) return true;
        const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
        if (waited >= timeout || observer.cancelled()) return false;
        observer.waiting(waited, "");
        sandbox.hypervisor.wait(200ms);
    }
}

// Connections by URI, opened once each; a null one did not answer.
class Connections {
  public:
    explicit Connections(Observer& observer) : observer_(observer) {}

    const Hypervisor* to(const std::string& uri) {
        auto found = open_.find(uri);
        if (found == open_.end()) {
            auto connected = Hypervisor::connect(uri);
            if (!connected) observer_.warning(connected.error().message);
            auto owned = connected ? std::make_unique<Hypervisor>(std::move(*connected)) : nullptr;
            found = open_.emplace(uri, std::move(owned)).first;
        }
        return found->second.get();
    }

  private:
    Observer& observer_;
    std::map<std::string, std::unique_ptr<Hypervisor>> open_;
};

void add_domain(Listed& entry, const Record& record, const Hypervisor& hypervisor) {
    const auto domain = hypervisor.find_by_uuid(record.uuid);
    if (!domain) {
        entry.state = "unknown";
        return;
    }
    entry.state = "off";
    if (!*domain) return;
    const auto status = (*domain)->status();
    entry.state = status ? status->text : "unknown";
    if (!status || !status->active) return;
    entry.uptime = std::chrono::seconds(std::max<std::int64_t>(0, std::time(nullptr) - record.started));
    entry.address = (*domain)->address();
}

Listed describe(const Record& record, const SandboxFolder& folder, Connections& connections) {
    Listed entry{.name = record.name,
                 .state = "unknown",
                 .base = record.base,
                 .disk_bytes = record.disk_bytes,
                 .allocated_bytes = 0,
                 .connection = record.connection,
                 .folder = folder.path(),
                 .created = record.created,
                 .uptime = {},
                 .address = {}};
    const auto disk = open_file(folder.disk(), {.access = Access::read_only, .locking = Locking::share});
    if (disk) entry.allocated_bytes = (*disk)->allocated_bytes().value_or(0);
    if (const Hypervisor* hypervisor = connections.to(record.connection))
        add_domain(entry, record, *hypervisor);
    return entry;
}

}  // namespace

Result<std::vector<Listed>> list(const Place& place, Observer& observer) {
    const Place resolved = resolve(place);
    Connections connections(observer);
    std::vector<Listed> entries;
    for (const std::string& name : sandbox_names(resolved.folder)) {
        const SandboxFolder folder(resolved.folder, name);
        const auto record = folder.read_record();
        if (!record) {
            observer.warning(record.error().message);
        } else if (place.connection.empty() || place.connection == record->connection) {
            entries.push_back(describe(*record, folder, connections));
        }
    }
    return entries;
}

Result<StopReport> stop(const StopOptions& options, Observer& observer) {
    const OpenSandbox sandbox = TRY(open_sandbox(options.name, options.place));
    const auto domain = TRY(active_domain(sandbox));
    StopReport report;
    report.was_off = !domain;
    if (!domain) return report;
    if (!options.force) {
        TRY(domain->request_shutdown());
        const bool off = TRY(wait_until_off(sandbox, *domain, options.timeout, observer));
        if (off) return report;
        if (observer.cancelled()) {
            return failf(ErrorKind::cancelled,
                         "{}: interrupted; the guest was asked to shut down and still runs", options.name);
        }
    }
    report.forced = true;
    TRY(domain->destroy());
    return report;
}

Result<void> remove(const RemoveOptions& options, Observer& observer) {
    TRY(check_name(options.name));
    const Place place = resolve(options.place);
    const SandboxFolder folder(place.folder, options.name);
    const auto foreign = TRY(folder.foreign_entries());
    if (!foreign.empty() && !options.force) {
        return failf(
            ErrorKind::exists,
            "{}: holds {}, which vmbox did not make; move it away, or remove everything with --force",
            printable(folder.path()), printable(foreign.front()));
    }
    const auto record = folder.read_record();
    // what an interruption left without a record has no domain either
    if (!record && record.error().kind != ErrorKind::not_found && !options.force) {
        return std::unexpected(record.error());
    }
    const Fd lock = TRY(folder.lock());
    if (record) {
        const OpenSandbox sandbox = TRY(open_sandbox(options.name, options.place));
        if (!options.force) TRY(check_not_a_base(sandbox, "removed"));
        const auto domain = TRY(active_domain(sandbox));
        if (domain) {
            TRY(domain->destroy());
            const bool off = TRY(wait_until_off(sandbox, *domain, 10s, observer));
            if (!off) return failf(ErrorKind::in_use, "{}: its domain does not end", options.name);
        }
    }
    return folder.remove();
}

Result<std::string> sandbox_xml(const std::string& name, const Place& place) {
    TRY(check_name(name));
    const SandboxFolder folder(resolve(place).folder, name);
    TRY(folder.read_record());
    return read_text(folder.domain(), text_bytes_max);
}

Result<std::string> console_log(const std::string& name, const Place& place) {
    TRY(check_name(name));
    const SandboxFolder folder(resolve(place).folder, name);
    TRY(folder.read_record());
    return read_text(folder.console_log(), text_bytes_max);
}

Result<Forward> parse_forward(std::string_view text) {
    const auto bad = [&] {
        return failf(ErrorKind::invalid_argument, "{}: not a pair of ports HOST:GUEST, each from 1 to 65535",
                     text.empty() ? "''" : printable(text));
    };
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return bad();
    Forward forward;
    for (auto [part, port] : {std::pair(text.substr(0, colon), &forward.host_port),
                              std::pair(text.substr(colon + 1), &forward.guest_port)}) {
        const auto [end, problem] = std::from_chars(part.data(), part.data() + part.size(), *port);
        if (problem != std::errc() || end != part.data() + part.size() || *port == 0) return bad();
    }
    return forward;
}

std::string_view stage_text(Stage stage) {
    switch (stage) {
        case Stage::created:
            return "sandbox made";
        case Stage::started:
            return "domain running";
        case Stage::console:
            return "console output";
        case Stage::kernel:
            return "kernel running";
        case Stage::login:
            return "login prompt";
        case Stage::cloud_init:
            return "cloud-init finished";
        default:
            return "powered off";
    }
}

}  // namespace qimg::vm
