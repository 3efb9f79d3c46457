// Logs at rest, and all others.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "guest/xfs/geometry.hpp"
#include "support/memory_volume.hpp"
#include "support/xfs_sample.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::MemoryVolume;
using test::XfsSample;

namespace {

constexpr std::uint32_t units = XfsSample::log_units;

MemoryVolume made(const XfsSample& sample) {
    MemoryVolume volume(sample.bytes());
    sample.write_to(volume);
    return volume;
}

std::uint64_t place_of(std::uint32_t unit) {
    return XfsSample::log_at + std::uint64_t{unit} * 512;
}

template <class T>
void put(MemoryVolume& volume, std::uint64_t at, const T& value) {
    Bytes bytes(sizeof value);
    store(std::span(bytes), value);
    volume.write(at, bytes).value();
}

void check_refused(const MemoryVolume& volume) {
    const auto found = xfs::open(volume);
    REQUIRE(!found);
    CHECK(found.error().kind == ErrorKind::in_use);
}

}  // namespace

TEST_CASE("the record of an unmount is found wherever the log's head is") {
    for (const std::uint32_t head : {1u, 2u, 3u, 77u, units / 2, units - 1, units}) {
        for (const std::uint32_t cycle : {2u, 9u}) {
            CAPTURE(head);
            XfsSample sample;
            sample.log_head = head;
            sample.log_cycle = cycle;
            const auto found = xfs::open(made(sample));
            if (!found) FAIL(found.error().message);
            CHECK(found->geometry.head_lsn == (std::uint64_t{cycle} << 32 | head));
        }
    }
}

TEST_CASE("a log in its first cycle is followed by nothing") {
    XfsSample sample;
    sample.log_head = 500;
    CHECK(xfs::open(made(sample)).has_value());
}

TEST_CASE("a gap behind the head may have been cleared") {
    XfsSample sample;
    sample.log_cycle = 5;
    MemoryVolume volume = made(sample);
    for (std::uint32_t unit = 2; unit < 400; ++unit)
        put(volume, place_of(unit), be32(0));
    CHECK(xfs::open(volume).has_value());
}

TEST_CASE("a log without records is left to others") {
    MemoryVolume volume = made(XfsSample());
    for (std::uint32_t unit = 0; unit < units; ++unit)
        put(volume, place_of(unit), be64(0));
    CHECK(xfs::open(volume).error().kind == ErrorKind::unsupported);
}

TEST_CASE("anything but an unmount at the head is to be replayed") {
    XfsSample sample;
    sample.log_head = 100;
    sample.log_cycle = 4;
    struct Change {
        std::uint32_t unit;
        std::size_t at;
        std::uint32_t value;
    };
    constexpr std::uint32_t record = 98;
    for (const Change& change : {
             Change{record, offsetof(xfs::disk::LogRecord, operations), 2},
             Change{record, offsetof(xfs::disk::LogRecord, bytes), 0},
             Change{record, offsetof(xfs::disk::LogRecord, bytes), 513},
             Change{record, offsetof(xfs::disk::LogRecord, lsn), 3},
             Change{record, offsetof(xfs::disk::LogRecord, lsn) + 4, 99},
             Change{record, offsetof(xfs::disk::LogRecord, uuid), 1},
             Change{record, offsetof(xfs::disk::LogRecord, buffer_bytes), 65536},
             Change{record, offsetof(xfs::disk::LogRecord, buffer_bytes), ~0u},
             Change{record, 0, 4},      // no record at all
             Change{record + 1, 8, 0},  // no unmount
             Change{record + 1, 0, 3},  // its content was not written
             Change{50, 0, 3},          // something before it was not
             Change{100, 0, 4},         // one unit more
             Change{300, 0, 4},         // something behind it was
             Change{units - 10, 0, 2},  // the cycle before
             Change{0, 0, 7},           // cycles that do not follow each other
             Change{units - 1, 0, 0},
         }) {
        CAPTURE(change.unit);
        CAPTURE(change.at);
        MemoryVolume volume = made(sample);
        put(volume, place_of(change.unit) + change.at, be32(change.value));
        check_refused(volume);
    }
}

TEST_CASE("headers for every 32 KiB of the buffer stand in front of the content") {
    XfsSample sample;
    sample.log_head = 100;
    sample.log_cycle = 4;
    MemoryVolume volume = made(sample);
    const std::uint64_t content = place_of(99), header = place_of(98), earlier = place_of(90);
    std::array<std::byte, 512> bytes;
    volume.read(header, bytes).value();
    volume.write(earlier, bytes).value();
    put(volume, header, be32(4));
    put(volume, earlier + offsetof(xfs::disk::LogRecord, lsn), be64(4ull << 32 | 90));
    put(volume, earlier + offsetof(xfs::disk::LogRecord, buffer_bytes), be32(256 * 1024));
    put(volume, earlier + offsetof(xfs::disk::LogRecord, bytes), be32(1024));
    volume.read(content, bytes).value();
    volume.write(place_of(98), bytes).value();
    CHECK(xfs::open(volume).has_value());
    put(volume, earlier + offsetof(xfs::disk::LogRecord, bytes), be32(512));
    check_refused(volume);
}
