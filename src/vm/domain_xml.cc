// Writes a domain so that cloud kernels find every device: virtio throughout, never SATA, ACPI for a
// poweroff that ends the domain, a serial console that is logged and can be typed into.
// SPDX-License-Identifier: Apache-2.0
#include "vm/domain_xml.hpp"

#include <fmt/core.h>

#include <pugixml.hpp>

namespace qimg::vm {

namespace {

constexpr const char* qemu_namespace = "http://libvirt.org/schemas/domain/qemu/1.0";
// a slot of the first PCI bus that libvirt, which fills them from the front, does not reach
constexpr const char* forwarding_slot = "0x1a";

using Attributes = std::initializer_list<std::pair<const char*, std::string>>;

pugi::xml_node add(pugi::xml_node parent, const char* name, Attributes attributes = {}) {
    pugi::xml_node node = parent.append_child(name);
    for (const auto& [key, value] : attributes)
        node.append_attribute(key) = value.c_str();
    return node;
}

void add_text(pugi::xml_node parent, const char* name, const std::string& text, Attributes attributes = {}) {
    add(parent, name, attributes).text() = text.c_str();
}

void add_processor(pugi::xml_node domain, const DomainPlan& plan) {
    add_text(domain, "vcpu", fmt::format("{}", plan.machine.cpus));
    if (plan.host.domain_type == "test") return;
    if (plan.kvm) {
        add(domain, "cpu", {{"mode", "host-passthrough"}});
        return;
    }
    // current distributions want more than QEMU's default processor has
    const pugi::xml_node cpu = add(domain, "cpu", {{"mode", "maximum"}});
    if (plan.host.arch == "x86_64") add(cpu, "feature", {{"policy", "disable"}, {"name", "la57"}});
}

void add_firmware_features(pugi::xml_node domain, const DomainPlan& plan) {
    const pugi::xml_node os = add(domain, "os");
    const pugi::xml_node type = add(os, "type", {{"arch", plan.host.arch}});
    if (!plan.host.machine.empty())
        pugi::xml_node(type).append_attribute("machine") = plan.host.machine.c_str();
    pugi::xml_node(type).text() = "hvm";
    add(os, "boot", {{"dev", "hd"}});
    const pugi::xml_node features = add(domain, "features");
    add(features, "acpi");
    if (plan.host.arch == "x86_64") add(features, "apic");
}

void add_disks(pugi::xml_node devices, const DomainPlan& plan) {
    const pugi::xml_node disk = add(devices, "disk", {{"type", "file"}, {"device", "disk"}});
    add(disk, "driver", {{"name", "qemu"}, {"type", "qcow2"}, {"discard", "unmap"}});
    add(disk, "source", {{"file", plan.disk}});
    add(disk, "target", {{"dev", "vda"}, {"bus", "virtio"}});

    const bool scsi = plan.machine.seed_bus == SeedBus::scsi;
    const pugi::xml_node seed = add(devices, "disk", {{"type", "file"}, {"device", scsi ? "cdrom" : "disk"}});
    add(seed, "driver", {{"name", "qemu"}, {"type", "raw"}});
    add(seed, "source", {{"file", plan.seed}});
    if (scsi) {
        add(seed, "target", {{"dev", "sda"}, {"bus", "scsi"}});
    } else {
        add(seed, "target", {{"dev", "vdb"}, {"bus", "virtio"}});
    }
    add(seed, "readonly");
    if (scsi) add(devices, "controller", {{"type", "scsi"}, {"index", "0"}, {"model", "virtio-scsi"}});
}

void add_network(pugi::xml_node devices, const DomainPlan& plan) {
    const bool user = plan.machine.network == "user";
    if (plan.machine.network == "none" || (user && !plan.machine.forwards.empty())) return;
    const pugi::xml_node card = add(devices, "interface", {{"type", user ? "user" : "network"}});
    if (!plan.mac.empty()) add(card, "mac", {{"address", plan.mac}});
    if (!user) add(card, "source", {{"network", plan.machine.network}});
    add(card, "model", {{"type", "virtio"}});
}

void add_console(pugi::xml_node devices, const DomainPlan& plan) {
    const pugi::xml_node serial = add(devices, "serial", {{"type", "pty"}});
    add(serial, "log", {{"file", plan.console_log}, {"append", "off"}});
    add(serial, "target", {{"port", "0"}});
    const pugi::xml_node console = add(devices, "console", {{"type", "pty"}});
    add(console, "target", {{"type", "serial"}, {"port", "0"}});
}

// libvirt 9.0 has no port forwarding for its user network, so the card is QEMU's own.
void add_forwards(pugi::xml_node domain, const DomainPlan& plan) {
    if (plan.machine.network != "user" || plan.machine.forwards.empty()) return;
    std::string backend = "user,id=vmbox";
    for (const Forward& forward : plan.machine.forwards) {
        backend += fmt::format(",hostfwd=tcp:127.0.0.1:{}-:{}", forward.host_port, forward.guest_port);
    }
    const std::string bus = plan.host.machine == "pc" ? "pci.0" : "pcie.0";
    std::string card = fmt::format("virtio-net-pci,netdev=vmbox,bus={},addr={}", bus, forwarding_slot);
    if (!plan.mac.empty()) card += ",mac=" + plan.mac;
    const pugi::xml_node command = add(domain, "qemu:commandline");
    for (const std::string& argument : {std::string("-netdev"), backend, std::string("-device"), card}) {
        add(command, "qemu:arg", {{"value", argument}});
    }
}

}  // namespace

std::string domain_xml(const DomainPlan& plan) {
    pugi::xml_document document;
    const std::string type = plan.kvm ? "kvm" : plan.host.domain_type;
    pugi::xml_node domain = add(document, "domain", {{"type", type}});
    if (!plan.machine.forwards.empty()) domain.append_attribute("xmlns:qemu") = qemu_namespace;
    add_text(domain, "name", plan.name);
    if (!plan.uuid.empty()) add_text(domain, "uuid", plan.uuid);
    add_text(domain, "memory", fmt::format("{}", divide_up(plan.machine.memory_bytes, KiB)),
             {{"unit", "KiB"}});
    add_processor(domain, plan);
    add_firmware_features(domain, plan);
    add(domain, "clock", {{"offset", "utc"}});
    add_text(domain, "on_poweroff", "destroy");
    add_text(domain, "on_reboot", "restart");
    add_text(domain, "on_crash", "destroy");
    const pugi::xml_node devices = add(domain, "devices");
    add_disks(devices, plan);
    add_network(devices, plan);
    add_console(devices, plan);
    const pugi::xml_node rng = add(devices, "rng", {{"model", "virtio"}});
    add_text(rng, "backend", "/dev/urandom", {{"model", "random"}});
    add(devices, "memballoon", {{"model", "none"}});
    if (plan.run_as) {
        const pugi::xml_node label =
            add(domain, "seclabel", {{"type", "static"}, {"model", "dac"}, {"relabel", "no"}});
        add_text(label, "label", fmt::format("+{}:+{}", plan.run_as->uid, plan.run_as->gid));
    }
    add_forwards(domain, plan);

    struct Text final : pugi::xml_writer {
        std::string text;
        void write(const void* data, std::size_t size) override {
            text.append(static_cast<const char*>(data), size);
        }
    } text;
    document.save(text, "  ", pugi::format_indent | pugi::format_no_declaration);
    return std::move(text.text);
}

}  // namespace qimg::vm
