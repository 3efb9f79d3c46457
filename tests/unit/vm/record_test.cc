// vmbox.json, and what else a sandbox's identity is made of.
// SPDX-License-Identifier: Apache-2.0
#include "vm/record.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace qimg;
using namespace qimg::vm;

namespace {

Record sample() {
    Record record;
    record.name = "web";
    record.uuid = random_uuid();
    record.mac = random_mac();
    record.connection = "qemu:///system";
    record.base = "/images/base.qcow2";
    record.base_format = "qcow2";
    record.disk_bytes = 22 * GiB;
    record.expand = true;
    record.machine.network = "user";
    record.machine.forwards = {{2222, 22}};
    record.machine.seed_bus = SeedBus::scsi;
    record.created = iso8601(1'700'000'000);
    record.started = 1'700'000'100;
    record.accel = Accel::tcg;
    return record;
}

std::string without(const std::string& text, const std::string& member) {
    std::string changed = text;
    const std::size_t at = changed.find("\"" + member + "\"");
    REQUIRE(at != std::string::npos);
    changed.replace(at + 1, member.size(), "x-" + member);
    return changed;
}

}  // namespace

TEST_CASE("a record is read as it was written") {
    const Record before = sample();
    const auto after = parse_record("vmbox.json", record_text(before));
    REQUIRE(after);
    CHECK(record_text(*after) == record_text(before));
    CHECK(after->machine.forwards.at(0).host_port == 2222);
    CHECK(after->expand);
    CHECK(after->created == "2023-11-14T22:13:20Z");
}

TEST_CASE("a member that is missing is named") {
    for (const char* member :
         {"version", "name", "base", "disk-size", "cpus", "forwards", "connection", "uuid"}) {
        const auto parsed = parse_record("f/vmbox.json", without(record_text(sample()), member));
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().kind == ErrorKind::corrupt);
        CHECK(parsed.error().message.starts_with(std::string("f/vmbox.json: ") + member));
    }
}

TEST_CASE("what is no record is refused") {
    for (const char* text : {"", "[]", "{", "{\"version\": -1}", "{\"version\": \"1\"}", "null"}) {
        CHECK(parse_record("vmbox.json", text).error().kind == ErrorKind::corrupt);
    }
    CHECK(parse_record("vmbox.json", "{\"version\": 2}").error().kind == ErrorKind::unsupported);
}

TEST_CASE("UUIDs are random ones of version 4") {
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const std::string uuid = random_uuid();
        REQUIRE(uuid.size() == 36);
        CHECK(uuid[14] == '4');
        CHECK(std::string("89ab").find(uuid[19]) != std::string::npos);
        seen.insert(uuid);
    }
    CHECK(seen.size() == 100);
}

TEST_CASE("ports to forward are two numbers from 1 to 65535") {
    const auto forward = parse_forward("8080:80");
    REQUIRE(forward);
    CHECK(forward->host_port == 8080);
    CHECK(forward->guest_port == 80);
    for (const char* text : {"", ":", "80", "80:", ":80", "0:80", "80:0", "65536:80", "80:80:80", "a:b",
                             "-1:80", " 80:80", "+80:80"}) {
        CHECK(parse_forward(text).error().kind == ErrorKind::invalid_argument);
    }
}
