// Counting clusters, finding free ones, growing the tables.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcounts.hpp"

#include <doctest/doctest.h>

#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

struct Image {
    explicit Image(unsigned refcount_bits = 16, std::uint64_t cluster_bytes = 512)
        : storage(memory_storage()) {
        Qcow2Layout layout;
        layout.cluster_bytes = cluster_bytes;
        layout.refcount_bits = refcount_bits;
        REQUIRE(create_empty(*storage, layout, MiB));
        header = read_header(*storage).value();
        refcounts.emplace(*storage, header);
        REQUIRE(refcounts->load());
    }
    std::unique_ptr<Storage> storage;
    Header header;
    std::optional<Refcounts> refcounts;
};

}  // namespace

TEST_CASE("a new image whose L1 table outgrows the first refcount table counts what it uses, no more") {
    const auto storage = memory_storage();
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    layout.refcount_bits = 64;
    REQUIRE(create_empty(*storage, layout, 10 * GiB));
    auto image = Qcow2::open(borrow_storage(*storage), {});
    REQUIRE(image);
    const CheckReport report = check_image(**image, Repair::none, {}, no_progress()).value();
    CHECK(report.corruptions == 0);
    CHECK(report.leaks == 0);
}

TEST_CASE("a new image counts its own metadata") {
    Image image;
    const std::uint64_t end = image.refcounts->end_of_used_clusters().value();
    CHECK(end == divide_up(image.storage->size().value(), 512));
    for (std::uint64_t i = 0; i < end; ++i)
        CHECK(image.refcounts->get(i).value() == 1);
    CHECK(image.refcounts->get(end).value() == 0);
}

TEST_CASE("allocated clusters follow each other and are counted once") {
    Image image;
    const ClusterRun first = image.refcounts->allocate(3).value();
    const ClusterRun second = image.refcounts->allocate(2).value();
    CHECK(second.first == first.first + 3);
    CHECK(image.refcounts->get(first.first + 2).value() == 1);
    REQUIRE(image.refcounts->subtract(first));
    CHECK(image.refcounts->allocate_some(10).value().first == first.first);
    CHECK(image.refcounts->allocate(4).value().first >= second.first + 2);
}

TEST_CASE("blocks and table grow with the file, at every width") {
    for (unsigned bits : {1u, 2u, 4u, 8u, 16u, 32u, 64u}) {
        CAPTURE(bits);
        Image image(bits);
        const std::uint64_t wanted = 20000;  // more than one 512-byte refcount table can count with 64 bits
        std::uint64_t got = 0;
        while (got < wanted)
            got += image.refcounts->allocate_some(wanted - got).value().count;
        const std::uint64_t end = image.refcounts->end_of_used_clusters().value();
        for (std::uint64_t i = 0; i < end; ++i)
            REQUIRE(image.refcounts->get(i).value() <= 1);
        // every block and the table itself are counted
        for (const std::uint64_t at : image.refcounts->table()) {
            if (at != 0) REQUIRE(image.refcounts->get(at / 512).value() == 1);
        }
        CHECK(image.refcounts->get(image.refcounts->table_offset().bytes / 512).value() == 1);
        CHECK(image.refcounts->take_old_tables().empty() ==
              (image.refcounts->table_offset() == image.header.refcount_table));
    }
}

TEST_CASE("a refcount neither overflows nor falls below zero") {
    Image image(1);
    const ClusterRun run = image.refcounts->allocate(1).value();
    CHECK(image.refcounts->add(run).error().kind == ErrorKind::unsupported);
    REQUIRE(image.refcounts->subtract(run));
    CHECK(image.refcounts->subtract(run).error().kind == ErrorKind::corrupt);
}

TEST_CASE("an unaligned refcount block is refused") {
    Image image;
    const be64 crooked = 0x600 + 0x100;
    REQUIRE(image.storage->write(image.header.refcount_table, std::as_bytes(std::span(&crooked, 1))));
    // bits 0 to 8 are reserved, so an offset of 0x700 reads as 0x600: aligned to 512-byte clusters
    REQUIRE(image.refcounts->load());
    CHECK(image.refcounts->get(0));
    Image wide(16, 4096);
    const be64 inside = 0x2200;
    REQUIRE(wide.storage->write(wide.header.refcount_table, std::as_bytes(std::span(&inside, 1))));
    REQUIRE(wide.refcounts->load());
    CHECK(wide.refcounts->get(0).error().kind == ErrorKind::corrupt);
}

TEST_CASE("a run is in one piece, with the refcount blocks that it needs behind it") {
    Image image;
    const std::uint64_t entries = image.header.geometry.refcount_block_entries();
    const std::uint64_t start = image.refcounts->end_of_used_clusters().value();
    const ClusterRun run = image.refcounts->allocate(3 * entries).value();
    CHECK(run.first == start);
    CHECK(run.count == 3 * entries);
    for (std::uint64_t i = 1; i <= 3; ++i)
        CHECK(image.refcounts->table()[i] >= (run.first + run.count) * 512);
    CHECK(image.refcounts->allocate(1).value().first == run.first + run.count + 3);
}
