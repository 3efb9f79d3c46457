// Finds a sandbox and its domain.
// SPDX-License-Identifier: Apache-2.0
#include "vm/open_sandbox.hpp"

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vm {

Result<OpenSandbox> open_sandbox(const std::string& name, const Place& place) {
    TRY(check_name(name));
    const Place resolved = resolve(place);
    SandboxFolder folder(resolved.folder, name);
    Record record = TRY(folder.read_record());
    const std::string uri = place.connection.empty() ? record.connection : place.connection;
    Hypervisor hypervisor = TRY(Hypervisor::connect(uri));
    record.connection = uri;
    return OpenSandbox{resolved.folder, std::move(folder), std::move(record), std::move(hypervisor)};
}

Result<std::optional<Domain>> active_domain(const OpenSandbox& sandbox) {
    auto domain = TRY(sandbox.hypervisor.find_by_uuid(sandbox.record.uuid));
    if (!domain) return std::optional<Domain>();
    const DomainStatus status = TRY(domain->status());
    if (!status.active) domain.reset();
    return domain;
}

Result<void> check_not_a_base(const OpenSandbox& sandbox, std::string_view doing) {
    const std::string inside = sandbox.folder.path() + "/";
    for (const std::string& name : sandbox_names(sandbox.parent)) {
        const auto other = SandboxFolder(sandbox.parent, name).read_record();
        if (!other || name == sandbox.record.name || !other->base.starts_with(inside)) continue;
        return failf(ErrorKind::in_use,
                     "{}: the sandbox {} stands on its disk, so it cannot be {}; remove that first",
                     sandbox.record.name, name, doing);
    }
    return {};
}

}  // namespace qimg::vm
