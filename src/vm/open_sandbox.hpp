// A sandbox that exists, with the libvirt connection that runs it: where every command but `up` begins.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "qimg/vm.hpp"
#include "vm/hypervisor.hpp"
#include "vm/record.hpp"
#include "vm/sandbox_folder.hpp"

namespace qimg::vm {

struct OpenSandbox {
    std::string parent;  // the folder that holds the sandboxes
    SandboxFolder folder;
    Record record;
    Hypervisor hypervisor;
};

// The connection is the one the sandbox was made with unless `place` names another.
// Errors: those of reading the record and of connecting.
Result<OpenSandbox> open_sandbox(const std::string& name, const Place& place);

// The sandbox's domain while it is active.
Result<std::optional<Domain>> active_domain(const OpenSandbox& sandbox);

// No other sandbox of the folder stands on this one's disk. Errors: in_use; `doing` is what cannot be done.
Result<void> check_not_a_base(const OpenSandbox& sandbox, std::string_view doing);

}  // namespace qimg::vm
