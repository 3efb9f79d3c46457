// Reads the few parts of libvirt's capabilities that a sandbox depends on.
// SPDX-License-Identifier: Apache-2.0
#include "vm/host_facts.hpp"

#include <charconv>
#include <cstring>
#include <pugixml.hpp>
#include <string_view>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vm {

namespace {

#if defined(__x86_64__)
constexpr const char* own_arch = "x86_64";
#elif defined(__aarch64__)
constexpr const char* own_arch = "aarch64";
#else
constexpr const char* own_arch = "unknown";
#endif

template <class Number>
bool take_number(std::string_view& text, Number& number) {
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

// The DAC model's label is "+UID:+GID".
std::optional<QemuUser> parse_dac_label(std::string_view label) {
    QemuUser user;
    if (!label.starts_with('+')) return std::nullopt;
    label.remove_prefix(1);
    if (!take_number(label, user.uid) || !label.starts_with(":+")) return std::nullopt;
    label.remove_prefix(2);
    if (!take_number(label, user.gid) || !label.empty()) return std::nullopt;
    return user;
}

std::optional<QemuUser> find_qemu_user(const pugi::xml_node& host) {
    for (const pugi::xml_node model : host.children("secmodel")) {
        if (std::strcmp(model.child_value("model"), "dac") == 0)
            return parse_dac_label(model.child_value("baselabel"));
    }
    return std::nullopt;
}

bool has_machine(const pugi::xml_node& arch, const char* name) {
    for (const pugi::xml_node machine : arch.children("machine")) {
        if (std::strcmp(machine.child_value(), name) == 0) return true;
    }
    return false;
}

// The guest entry for this machine's own architecture, otherwise the test driver's.
pugi::xml_node find_arch(const pugi::xml_node& capabilities) {
    pugi::xml_node test_arch;
    for (const pugi::xml_node guest : capabilities.children("guest")) {
        if (std::strcmp(guest.child_value("os_type"), "hvm") != 0) continue;
        const pugi::xml_node arch = guest.child("arch");
        if (std::strcmp(arch.attribute("name").value(), own_arch) == 0) return arch;
        if (arch.find_child_by_attribute("domain", "type", "test")) test_arch = arch;
    }
    return test_arch;
}

}  // namespace

Result<HostFacts> parse_capabilities(const std::string& xml) {
    pugi::xml_document document;
    const pugi::xml_node root =
        document.load_buffer(xml.data(), xml.size()) ? document.child("capabilities") : pugi::xml_node();
    if (!root) return fail(ErrorKind::corrupt, "libvirt's capabilities are no XML document that can be read");
    const pugi::xml_node arch = find_arch(root);
    if (!arch) {
        return failf(ErrorKind::unsupported,
                     "libvirt cannot run {} guests here; install QEMU for it (Debian: qemu-system-x86)",
                     own_arch);
    }
    HostFacts facts;
    facts.qemu_user = find_qemu_user(root.child("host"));
    facts.arch = arch.attribute("name").value();
    facts.kvm = !arch.find_child_by_attribute("domain", "type", "kvm").empty();
    if (arch.find_child_by_attribute("domain", "type", "test")) facts.domain_type = "test";
    facts.machine = "";
    for (const char* machine : {"virt", "q35", "pc"}) {  // the last one there is taken
        if (has_machine(arch, machine)) facts.machine = machine;
    }
    return facts;
}

}  // namespace qimg::vm
