// A sandbox's domain in libvirt's XML. Knows libvirt's vocabulary; asks nobody anything.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "qimg/vm.hpp"
#include "vm/host_facts.hpp"

namespace qimg::vm {

struct DomainPlan {
    std::string name;
    std::string uuid;  // empty: libvirt makes one
    std::string mac;   // of the network card; empty: libvirt makes one
    Machine machine;   // its network must be decided: "user", "none" or a name
    std::string disk;  // absolute paths
    std::string seed;
    std::string console_log;
    bool kvm = false;
    HostFacts host;
    std::optional<QemuUser> run_as;  // QEMU's user, and libvirt changes no owner of a file
};

std::string domain_xml(const DomainPlan& plan);

}  // namespace qimg::vm
