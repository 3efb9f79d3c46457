// May KVM be trusted here? /dev/kvm opening says little: in nested and paravirtual sandboxes it may run a
// guest's firmware and then hang in its kernel. So: a probe that rejects at once what is plainly broken, and
// an answer, remembered until the machine's next boot, that only a guest's own output can give.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

namespace qimg::vm {

// True when a few instructions run under KVM in long mode with paging: CPUID, MSR reads, port output, memory
// writes, HLT. Takes milliseconds, two seconds at most. True does not prove that a kernel boots.
bool kvm_probe();

// What a guest has shown since the machine's last boot; nullopt when none has.
std::optional<bool> remembered_kvm();
// Kept in $XDG_CACHE_HOME/vmbox/kvm. A cache that cannot be written is no error.
void remember_kvm(bool works);

}  // namespace qimg::vm
