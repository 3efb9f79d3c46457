// What growing and shrinking do to tables and to the file.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/resize.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "format/qcow2/create.hpp"
#include "qimg/image.hpp"
#include "support/recording_storage.hpp"
#include "support/sample_image.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

// 512-byte clusters: a L1 entry stands for 32 KiB, a cluster of the L1 table for 2 MiB.
struct SmallClusters {
    explicit SmallClusters(std::uint64_t bytes) {
        Qcow2Layout layout;
        layout.cluster_bytes = 512;
        layout.refcount_bits = 64;
        REQUIRE(create_empty(file, layout, bytes));
        image = test::open_image(file, true);
    }
    Qcow2& format() { return test::as_qcow2(*image); }
    test::RecordingStorage file;
    std::unique_ptr<Image> image;
};

Result<void> nothing() {
    return {};
}

}  // namespace

TEST_CASE("a shorter disk makes a shorter file, without refcount blocks that count nothing") {
    SmallClusters disk(4 * MiB);
    REQUIRE(disk.image->write(GuestOffset(0), Bytes(4 * MiB, std::byte{7})));
    REQUIRE(disk.image->flush());
    const std::uint64_t before = disk.file.size().value();
    REQUIRE(shrink(disk.format(), MiB, nothing));
    CHECK(disk.file.size().value() < before);
    CHECK(disk.file.size().value() == disk.format().refcounts().end_of_used_clusters().value() * 512);

    const auto again = test::open_image(disk.file, true);
    Refcounts& refcounts = test::as_qcow2(*again).refcounts();
    REQUIRE(refcounts.load());
    for (const std::uint64_t block : refcounts.table()) {
        if (block == 0) continue;
        Bytes bytes(512);
        REQUIRE(disk.file.read(HostOffset(block), bytes));
        CHECK(std::ranges::any_of(bytes, [](std::byte byte) { return byte != std::byte{0}; }));
    }
    Bytes content(MiB);
    REQUIRE(again->read(GuestOffset(0), content));
    CHECK(content == Bytes(MiB, std::byte{7}));
}

TEST_CASE("the file's end stays when metadata lies in it that refcounts call free") {
    SmallClusters disk(MiB);
    REQUIRE(disk.image->write(GuestOffset(0), Bytes(MiB, std::byte{7})));
    REQUIRE(disk.image->flush());
    const std::uint64_t end = disk.file.size().value();
    REQUIRE(disk.file.resize(end + 512));
    disk.format().replace_l1(HostOffset(end), {0});
    CHECK(disk.format().cut_unused_end().error().kind == ErrorKind::corrupt);
    CHECK(disk.file.size().value() == end + 512);
}

TEST_CASE("the L1 table grows in its place while its last cluster has room, over whatever is there") {
    SmallClusters disk(MiB);
    const HostOffset place = disk.format().header().l1_table;
    REQUIRE(disk.file.write(place + 32 * 8, Bytes(512 - 32 * 8, std::byte{0xff})));
    REQUIRE(grow(disk.format(), 2 * MiB, nothing));
    CHECK(disk.format().header().l1_table == place);
    const auto again = test::open_image(disk.file, true);
    const auto l1 = test::as_qcow2(*again).l1().value();
    CHECK(l1.size() == 64);
    CHECK(std::ranges::all_of(l1, [](std::uint64_t entry) { return entry == 0; }));

    REQUIRE(grow(disk.format(), 3 * MiB, nothing));
    CHECK(disk.format().header().l1_table != place);
    CHECK(disk.format().l1().value().size() == 96);
}
