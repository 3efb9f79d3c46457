// The record of what a sandbox was made from: vmbox.json in its folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "qimg/error.hpp"
#include "qimg/vm.hpp"

namespace qimg::vm {

struct Record {
    std::string name;
    std::string uuid;  // of the domain: nobody else's is ever touched
    std::string mac;   // kept, because cloud-init ties the guest's network to it
    std::string connection;
    std::string base;  // absolute
    std::string base_format;
    std::uint64_t disk_bytes = 0;    // virtual size of the overlay
    bool expand = false;             // what is on it grows with it
    Machine machine;                 // its network is decided
    std::string created;             // ISO 8601, UTC
    std::int64_t started = 0;        // of the last start, seconds since 1970; 0: never
    Accel accel = Accel::automatic;  // of the last start
};

std::string record_text(const Record& record);
// Errors: corrupt, naming `path` and the member that is missing or wrong.
Result<Record> parse_record(const std::string& path, const std::string& text);

// A random (version 4) UUID, and a MAC address of the range that QEMU uses.
std::string random_uuid();
std::string random_mac();

std::string iso8601(std::int64_t seconds);

std::string_view accel_name(Accel accel);

}  // namespace qimg::vm
