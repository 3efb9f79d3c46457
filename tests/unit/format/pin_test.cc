// How a pin lies in a header, and which changes of an image its digest notices.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/pin.hpp"

#include <doctest/doctest.h>

#include "format/qcow2/table_digest.hpp"
#include "support/test_images.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

qcow2::Pin some_pin() {
    qcow2::Pin pin;
    pin.format = "qcow2";
    pin.disk_bytes = 10 * GiB;
    pin.file_bytes = 3 * MiB;
    pin.modified = FileTime{-5, 999'999'999};
    pin.digest[0] = 1;
    return pin;
}

Digest digest_of(Storage& file) {
    const auto image = open_image(file, false);
    const auto digest = qcow2::table_digest(as_qcow2(*image));
    REQUIRE(digest);
    return *digest;
}

std::vector<Qcow2Layout> layouts() {
    Qcow2Layout subclusters = layout_of(16384);
    subclusters.extended_l2 = true;
    return {layout_of(512),     layout_of(512, 16, 2), layout_of(512, 64),
            layout_of(1024, 4), subclusters,           over_base(layout_of(512))};
}

Result<void> grow_disk(Image& image) {
    return qcow2::grow(as_qcow2(image), 400 * KiB, [] { return Result<void>(); });
}

}  // namespace

TEST_CASE("a pin is read as it was written") {
    qcow2::Pin pin = some_pin();
    CHECK(serialize_pin(pin).size() == 64);
    CHECK(qcow2::parse_pin(serialize_pin(pin)) == pin);
    pin.content = Digest{7};
    pin.format = "raw";
    pin.modified.reset();
    CHECK(serialize_pin(pin).size() == 96);
    CHECK(qcow2::parse_pin(serialize_pin(pin)) == pin);
}

TEST_CASE("a pin of another layout is none") {
    const Bytes good = serialize_pin(some_pin());
    CHECK_FALSE(qcow2::parse_pin({}));
    CHECK_FALSE(qcow2::parse_pin(std::span(good).first(63)));
    for (const std::size_t field : {0, 1}) {
        Bytes other = good;
        other[field] = std::byte{9};
        CHECK_FALSE(qcow2::parse_pin(other));
    }
    Bytes cut = good;
    cut[2] |= std::byte{1};  // says that a digest of content follows
    CHECK_FALSE(qcow2::parse_pin(cut));
}

TEST_CASE("what guests of overlays can notice changes the digest, and nothing else does") {
    for (const Qcow2Layout& layout : layouts()) {
        CAPTURE(layout.cluster_bytes);
        CAPTURE(layout.version);
        const Bytes start = starting_image(layout);
        const auto after = [&](auto&& change) {
            RecordingStorage file(start);
            const auto image = open_image(file, true);
            REQUIRE(change(*image));
            REQUIRE(image->flush());
            return digest_of(file);
        };
        RecordingStorage untouched(start);
        const Digest before = digest_of(untouched);
        CHECK(after([](Image& i) { return qcow2::create_snapshot(as_qcow2(i), "new", {}); }) == before);
        CHECK(after([](Image& i) { return qcow2::delete_snapshot(as_qcow2(i), "first"); }) == before);
        if (layout.version >= 3) CHECK(after(grow_disk) == before);
        CHECK(after([](Image& i) { return i.write(GuestOffset(150 * KiB), pattern(10, 3)); }) != before);
        CHECK(after([](Image& i) { return i.write_zeroes(GuestRange(GuestOffset(0), 64 * KiB)); }) != before);
        CHECK(after([](Image& i) { return i.discard(GuestRange(GuestOffset(0), 64 * KiB)); }) != before);
        CHECK(after([](Image& i) { return qcow2::apply_snapshot(as_qcow2(i), "first"); }) != before);
        CHECK(after([](Image& i) {
                  as_qcow2(i).header().backing_file = "other";
                  return as_qcow2(i).rewrite_header();
              }) != before);
    }
}

TEST_CASE("tables that lie nowhere, or all in one place, are no trouble for the digest") {
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    RecordingStorage file;
    REQUIRE(qcow2::create_empty(file, layout, GiB));
    const Digest empty = digest_of(file);
    // more tables than the file has clusters would be refused
    REQUIRE(file.resize(GiB / 64));
    const auto image = open_image(file, true);
    const auto l1 = as_qcow2(*image).l1();
    REQUIRE(l1);
    for (std::size_t i = 0; i < l1->size(); ++i) {
        const std::uint64_t places[] = {0x200, 0x7ffffffffffe00, 0x400};
        REQUIRE(as_qcow2(*image).set_l1_entry(i, places[i % 3]));
    }
    REQUIRE(as_qcow2(*image).prepare_changing());
    REQUIRE(image->flush());
    CHECK(digest_of(file) != empty);
}
