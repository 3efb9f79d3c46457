// What is read from libvirt's capabilities.
// SPDX-License-Identifier: Apache-2.0
#include "vm/host_facts.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace qimg;
using namespace qimg::vm;

namespace {

#if defined(__aarch64__)
const std::string arch = "aarch64";
#else
const std::string arch = "x86_64";
#endif

std::string capabilities(const std::string& label, const std::string& machines, const std::string& domains) {
    return "<capabilities><host><secmodel><model>none</model></secmodel><secmodel><model>dac</model>"
           "<baselabel type='kvm'>" +
           label +
           "</baselabel></secmodel></host>"
           "<guest><os_type>hvm</os_type><arch name='i686'><machine>isapc</machine></arch></guest>"
           "<guest><os_type>hvm</os_type><arch name='" +
           arch + "'>" + machines + domains +
           "</arch></guest>"
           "</capabilities>";
}

}  // namespace

TEST_CASE("QEMU's user is the label of the DAC model") {
    const auto facts = parse_capabilities(capabilities("+64055:+107", "<machine>pc</machine>", ""));
    REQUIRE(facts);
    REQUIRE(facts->qemu_user);
    CHECK(facts->qemu_user->uid == 64055);
    CHECK(facts->qemu_user->gid == 107);
}

TEST_CASE("a label that is no pair of numbers names nobody") {
    for (const char* label : {"", "+1", "+1:2", "+a:+b", "+1:+2x", "libvirt-qemu:kvm", "+99999999999:+1"}) {
        const auto facts = parse_capabilities(capabilities(label, "", ""));
        REQUIRE(facts);
        CHECK_FALSE(facts->qemu_user);
    }
}

TEST_CASE("machine type pc is preferred, then q35, otherwise libvirt's own") {
    const std::string q35 = "<machine>q35</machine>";
    CHECK(parse_capabilities(capabilities("", q35 + "<machine>pc</machine>", ""))->machine == "pc");
    CHECK(parse_capabilities(capabilities("", q35, ""))->machine == "q35");
    CHECK(parse_capabilities(capabilities("", "<machine>microvm</machine>", ""))->machine.empty());
}

TEST_CASE("KVM counts only where this architecture has it") {
    CHECK(parse_capabilities(capabilities("", "", "<domain type='qemu'/><domain type='kvm'/>"))->kvm);
    CHECK_FALSE(parse_capabilities(capabilities("", "", "<domain type='qemu'/>"))->kvm);
}

TEST_CASE("a document that is none, or without a guest for this machine, is refused") {
    CHECK(parse_capabilities("").error().kind == ErrorKind::corrupt);
    CHECK(parse_capabilities("<domain/>").error().kind == ErrorKind::corrupt);
    CHECK(parse_capabilities("<capabilities/>").error().kind == ErrorKind::unsupported);
}
