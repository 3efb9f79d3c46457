// What a libvirt connection says about its machine: who QEMU runs as, and what it can emulate.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "qimg/error.hpp"

namespace qimg::vm {

struct QemuUser {
    uid_t uid = 0;
    gid_t gid = 0;
};

struct HostFacts {
    std::optional<QemuUser> qemu_user;  // absent: QEMU runs as whoever asks for it
    bool kvm = false;                   // libvirt offers it, which proves nothing yet
    std::string domain_type = "qemu";   // for software emulation; "test" with libvirt's test driver
    std::string arch = "x86_64";
    std::string machine = "pc";  // empty: libvirt's own choice
};

// Reads libvirt's capabilities XML. Errors: corrupt when it is no such document, unsupported when no
// guest of this architecture can be run.
Result<HostFacts> parse_capabilities(const std::string& xml);

}  // namespace qimg::vm
