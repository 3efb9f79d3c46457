// When L1 tables are not believed.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/endian.hpp"
#include "format/qcow2/snapshots.hpp"
#include "support/memory_chain.hpp"

using namespace qimg;

TEST_CASE("an L1 table that was refused is not read again") {
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    test::MemoryChain chain;
    chain.add("disk", 64 * MiB, "", layout);
    const auto file = chain.open("disk", {}).value();
    const auto header = qcow2::read_header(*file).value();
    // more tables than the file has clusters: the same one again and again
    Bytes table(header.l1_entries * qcow2::table_entry_bytes);
    for (std::size_t i = 0; i < header.l1_entries; ++i)
        store(std::span(table).subspan(i * qcow2::table_entry_bytes), be64(header.l1_table.bytes));
    REQUIRE(file->write(header.l1_table, table));

    const auto image = chain.image("disk");
    const GuestRange sector(GuestOffset(0), 512);
    const auto first = image->format().map(sector);
    REQUIRE(!first);
    CHECK(first.error().kind == ErrorKind::corrupt);
    const std::uint64_t read = chain.bytes_read("disk");
    const auto again = image->format().map(sector);
    REQUIRE(!again);
    CHECK(again.error().message == first.error().message);
    CHECK(chain.bytes_read("disk") == read);
}

TEST_CASE("a snapshot's L1 table lies in the file, unless it is empty") {
    test::MemoryChain chain;
    chain.add("disk", MiB);
    const auto file = chain.open("disk", {}).value();
    const qcow2::Geometry geometry = qcow2::read_header(*file).value().geometry;
    qcow2::Snapshot snapshot;
    snapshot.l1_table = HostOffset(GiB);
    snapshot.l1_entries = 1;
    CHECK_FALSE(qcow2::read_snapshot_l1(*file, geometry, snapshot));
    snapshot.l1_entries = 0;
    const auto empty = qcow2::read_snapshot_l1(*file, geometry, snapshot);
    REQUIRE(empty);
    CHECK(empty->empty());
    snapshot.l1_table = HostOffset(GiB + 1);
    CHECK_FALSE(qcow2::read_snapshot_l1(*file, geometry, snapshot));
}
