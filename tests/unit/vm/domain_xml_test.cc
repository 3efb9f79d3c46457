// Domains as cloud kernels and libvirt want them.
// SPDX-License-Identifier: Apache-2.0
#include "vm/domain_xml.hpp"

#include <doctest/doctest.h>

#include <pugixml.hpp>

using namespace qimg;
using namespace qimg::vm;

namespace {

DomainPlan sample() {
    DomainPlan plan;
    plan.name = "web";
    plan.uuid = "3c1a7a9e-0000-4000-8000-000000000001";
    plan.mac = "52:54:00:00:00:01";
    plan.machine.network = "user";
    plan.disk = "/boxes/web/disk.qcow2";
    plan.seed = "/boxes/web/seed.iso";
    plan.console_log = "/boxes/web/console.log";
    return plan;
}

pugi::xml_document parsed(const DomainPlan& plan) {
    pugi::xml_document document;
    REQUIRE(document.load_string(domain_xml(plan).c_str()));
    return document;
}

std::string at(const pugi::xml_document& document, const char* path) {
    const pugi::xpath_node node = document.select_node(path);
    return node.attribute() ? node.attribute().value() : node.node().child_value();
}

}  // namespace

TEST_CASE("the overlay is a virtio disk that passes discards on") {
    const auto xml = parsed(sample());
    CHECK(at(xml, "//disk[target/@dev='vda']/source/@file") == "/boxes/web/disk.qcow2");
    CHECK(at(xml, "//disk[target/@dev='vda']/target/@bus") == "virtio");
    CHECK(at(xml, "//disk[target/@dev='vda']/driver/@type") == "qcow2");
    CHECK(at(xml, "//disk[target/@dev='vda']/driver/@discard") == "unmap");
}

TEST_CASE("the seed is read-only and never on SATA") {
    DomainPlan plan = sample();
    const auto virtio = parsed(plan);
    CHECK(at(virtio, "//disk[readonly]/target/@bus") == "virtio");
    CHECK(at(virtio, "//disk[readonly]/@device") == "disk");
    plan.machine.seed_bus = SeedBus::scsi;
    const auto scsi = parsed(plan);
    CHECK(at(scsi, "//disk[readonly]/target/@bus") == "scsi");
    CHECK(at(scsi, "//disk[readonly]/@device") == "cdrom");
    CHECK(at(scsi, "//controller[@type='scsi']/@model") == "virtio-scsi");
    CHECK(virtio.select_nodes("//target[@bus='sata']").empty());
    CHECK(scsi.select_nodes("//target[@bus='sata']").empty());
}

TEST_CASE("no two disks have the same target") {
    for (const SeedBus bus : {SeedBus::virtio, SeedBus::scsi}) {
        DomainPlan plan = sample();
        plan.machine.seed_bus = bus;
        const auto xml = parsed(plan);
        const auto targets = xml.select_nodes("//disk/target");
        REQUIRE(targets.size() == 2);
        CHECK(targets[0].node().attribute("dev").value() !=
              std::string(targets[1].node().attribute("dev").value()));
    }
}

TEST_CASE("a power-off ends the domain") {
    const auto xml = parsed(sample());
    CHECK(xml.select_node("/domain/features/acpi"));
    CHECK(at(xml, "/domain/on_poweroff") == "destroy");
    CHECK(at(xml, "/domain/on_crash") == "destroy");
    CHECK(at(xml, "/domain/on_reboot") == "restart");
}

TEST_CASE("the console can be typed into and is logged afresh at each start") {
    const auto xml = parsed(sample());
    CHECK(at(xml, "//serial/@type") == "pty");
    CHECK(at(xml, "//serial/log/@file") == "/boxes/web/console.log");
    CHECK(at(xml, "//serial/log/@append") == "off");
}

TEST_CASE("KVM and software emulation differ in type and processor") {
    DomainPlan plan = sample();
    CHECK(at(parsed(plan), "/domain/@type") == "qemu");
    CHECK(at(parsed(plan), "/domain/cpu/@mode") == "maximum");
    plan.kvm = true;
    CHECK(at(parsed(plan), "/domain/@type") == "kvm");
    CHECK(at(parsed(plan), "/domain/cpu/@mode") == "host-passthrough");
}

TEST_CASE("sizes are told in whole KiB, rounded up") {
    DomainPlan plan = sample();
    plan.machine.memory_bytes = 512 * MiB + 1;
    CHECK(at(parsed(plan), "/domain/memory") == "524289");
    CHECK(at(parsed(plan), "/domain/memory/@unit") == "KiB");
}

TEST_CASE("names are escaped") {
    DomainPlan plan = sample();
    plan.disk = "/a b/<&'\">/disk.qcow2";
    CHECK(at(parsed(plan), "//disk[target/@dev='vda']/source/@file") == plan.disk);
}

TEST_CASE("networks: user, none, or a libvirt network") {
    DomainPlan plan = sample();
    CHECK(at(parsed(plan), "//interface/@type") == "user");
    CHECK(at(parsed(plan), "//interface/mac/@address") == "52:54:00:00:00:01");
    plan.machine.network = "lab";
    CHECK(at(parsed(plan), "//interface/source/@network") == "lab");
    plan.machine.network = "none";
    CHECK_FALSE(parsed(plan).select_node("//interface"));
}

TEST_CASE("forwarded ports need QEMU's own network card and keep its address") {
    DomainPlan plan = sample();
    plan.machine.forwards = {{2222, 22}, {8080, 80}};
    const auto xml = parsed(plan);
    CHECK_FALSE(xml.select_node("//interface"));
    CHECK(at(xml, "//*[local-name()='arg'][2]/@value") ==
          "user,id=vmbox,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:8080-:80");
    CHECK(at(xml, "//*[local-name()='arg'][4]/@value").ends_with("mac=52:54:00:00:00:01"));
    CHECK(xml.child("domain").attribute("xmlns:qemu").value() ==
          std::string("http://libvirt.org/schemas/domain/qemu/1.0"));
}

TEST_CASE("libvirt changes no owner where QEMU's user is given") {
    DomainPlan plan = sample();
    CHECK_FALSE(parsed(plan).select_node("/domain/seclabel"));
    plan.run_as = QemuUser{64055, 107};
    const auto xml = parsed(plan);
    CHECK(at(xml, "/domain/seclabel[@model='dac']/@relabel") == "no");
    CHECK(at(xml, "/domain/seclabel/label") == "+64055:+107");
}
