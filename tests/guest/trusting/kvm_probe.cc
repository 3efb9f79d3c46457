// Lets every /dev/kvm pass: a vmbox linked with this sees what comes after the probe, on every machine.
// SPDX-License-Identifier: Apache-2.0
#include "vm/kvm.hpp"

bool qimg::vm::kvm_probe() {
    return true;
}
