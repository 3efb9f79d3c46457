// Sizes of files that are not there yet.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/file_size.hpp"

#include <doctest/doctest.h>

#include "format/qcow2/create.hpp"
#include "qimg/progress.hpp"

using namespace qimg;

TEST_CASE("a fully allocated file is as large as was measured") {
    for (const std::uint64_t cluster : {512u, 4096u, 65536u}) {
        for (const unsigned refcount_bits : {1u, 16u, 64u}) {
            for (const std::uint64_t size : {std::uint64_t{512}, MiB, 5 * MiB + 512}) {
                Qcow2Layout layout;
                layout.cluster_bytes = cluster;
                layout.refcount_bits = refcount_bits;
                const auto file = memory_storage();
                REQUIRE(qcow2::create_empty(*file, layout, size));
                qcow2::Qcow2Options writable;
                writable.writable = true;
                const auto image = qcow2::Qcow2::open(borrow_storage(*file), writable).value();
                REQUIRE(qcow2::preallocate(*image, GuestRange(GuestOffset(0), size), Preallocation::metadata,
                                           no_progress()));
                REQUIRE(image->flush());
                CAPTURE(cluster);
                CAPTURE(refcount_bits);
                CAPTURE(size);
                // a refcount table that grows leaves its old place free
                const std::uint64_t measured = qcow2::full_file_bytes(image->geometry(), size);
                CHECK(file->size().value() >= measured - cluster);
                CHECK(file->size().value() <= measured + measured / 50 + 2 * cluster);
            }
        }
    }
}

TEST_CASE("bitmaps take whole clusters for data and table, and share a directory") {
    const qcow2::Geometry geometry(16, 4, false);
    std::vector<qcow2::Bitmap> bitmaps(2);
    bitmaps[0].info.name = "a";
    bitmaps[0].info.granularity_bytes = 64 * KiB;
    bitmaps[1].info.name = "b";
    bitmaps[1].info.granularity_bytes = 512;
    CHECK(qcow2::bitmaps_bytes(geometry, 10 * GiB, {}) == 0);
    CHECK(qcow2::bitmaps_bytes(geometry, 10 * GiB, bitmaps) == (1 + 1 + 40 + 1 + 1) * 64 * KiB);
}
