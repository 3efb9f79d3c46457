// Starts a sandbox's domain and follows its guest, under KVM where that can be trusted. Knows when to fall
// back to software emulation and what to tell a user; leaves making a sandbox to others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "qimg/vm.hpp"
#include "vm/guest_watch.hpp"
#include "vm/hypervisor.hpp"
#include "vm/record.hpp"
#include "vm/sandbox_folder.hpp"

namespace qimg::vm {

// A sandbox with its connection, while one call works on it.
struct Session {
    const Hypervisor& hypervisor;
    const SandboxFolder& folder;
    HostFacts host;
    Record record;
    Observer& observer;
    bool disposable_disk = false;  // the overlay was made in this call: nothing of a user's is in it
};

struct Running {
    Domain domain;
    bool kvm = false;
    bool may_fall_back = false;  // software emulation may take KVM's place
    bool doubtful_kvm = false;   // no guest has shown yet whether KVM works
};

// What the domain of a record looks like with or without KVM.
std::string domain_of(const Record& record, const SandboxFolder& folder, const HostFacts& host, bool kvm);

// Should KVM be used? `doubtful` is set when only the guest can show whether it works.
Result<bool> choose_kvm(Accel wanted, const HostFacts& host, bool& doubtful);

// Writes domain.xml and starts the domain. The caller holds the folder's lock.
Result<Running> start_guest(Session& session, Accel accel);

// Should a guest that ended so under KVM be started again without it? A guest that QEMU stopped for good has
// nothing to lose; a panic or a crash is blamed on KVM only while it is in doubt, an I/O error never.
bool is_kvms_fault(Verdict verdict, Failure failure, bool doubtful);

// Waits for the guest. On an error the domain is left as it is.
Result<UpReport> follow_guest(Session& session, Running running, const WaitOptions& options);

// Makes the overlay anew beside the old one, which it then replaces. Sets what the record says of it.
Result<void> make_disk(const SandboxFolder& folder, Record& record, const std::optional<SizeChange>& size,
                       const std::optional<std::string>& base_format);

// Lets QEMU's user get at the disk and the seed, which hold secrets and are closed to everybody else.
Result<void> hand_over(const SandboxFolder& folder, const HostFacts& host);

}  // namespace qimg::vm
