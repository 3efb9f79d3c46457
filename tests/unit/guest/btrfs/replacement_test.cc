// A device that is being replaced is left alone.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/replacement.hpp"

#include <doctest/doctest.h>

#include "guest/btrfs/grow.hpp"
#include "support/btrfs_sample.hpp"
#include "support/memory_volume.hpp"

using namespace qimg;
using namespace qimg::guest;
using test::BtrfsSample;
using test::MemoryVolume;
namespace disk = btrfs::disk;

namespace {

struct Made {
    BtrfsSample sample;
    MemoryVolume volume{60 * MiB};

    Made() { sample.write_to(volume); }

    void with_state(std::uint64_t state) {
        disk::ReplacementItem item{};
        item.state = state;
        sample.put_devices(volume, {{key(), BtrfsSample::bytes_of_object(item)}});
    }
    static BtrfsSample::Key key() { return {disk::replacement_object, disk::replacement_item, 0}; }

    std::string verdict(ErrorKind kind) {
        volume.bytes_written = 0;
        const auto growth = btrfs::grow(volume);
        if (growth) return "";
        CHECK(growth.error().kind == kind);
        CHECK(volume.bytes_written == 0);
        return growth.error().message;
    }
    void expect(std::string_view reason, ErrorKind kind = ErrorKind::corrupt) {
        const std::string found = verdict(kind);
        CAPTURE(reason);
        INFO(found);
        CHECK(found.find(reason) != std::string::npos);
        CHECK_FALSE(found.empty());
    }
};

}  // namespace

TEST_CASE("a replacement that was begun stops growth, one that is over does not") {
    for (const std::uint64_t state : {0u, 2u, 3u}) {
        Made made;
        made.with_state(state);
        CHECK(made.verdict(ErrorKind::in_use).empty());
    }
    for (const std::uint64_t state : {1u, 4u, 5u}) {
        Made made;
        made.with_state(state);
        made.expect("is being replaced", ErrorKind::in_use);
    }
}

TEST_CASE("a tree of devices with other items, before and behind, has no replacement") {
    Made made;
    made.sample.put_devices(made.volume, {{BtrfsSample::Key{1, 204, MiB}, Bytes(48)}});
    CHECK(made.verdict(ErrorKind::in_use).empty());
}

TEST_CASE("what is damaged on the way to the devices is refused") {
    Made made;
    const BtrfsSample& sample = made.sample;
    made.sample.put_devices(made.volume, {{Made::key(), Bytes(71)}});
    made.expect("replacement of a device");
    made.sample.put_roots(made.volume, {{BtrfsSample::Key{3, 132, 0}, sample.root()}});
    made.expect("tree of devices is not there");
    made.sample.put_roots(made.volume, {{BtrfsSample::Key{5, 132, 0}, sample.root()}});
    made.expect("tree of devices is not there");
    made.sample.put_roots(made.volume, {{BtrfsSample::root_key(), Bytes(238)}});
    made.expect("tree of devices is not there");
    auto root = load<disk::RootItem>(sample.root());
    root.level = 8;
    made.sample.put_roots(made.volume, {{BtrfsSample::root_key(), BtrfsSample::bytes_of_object(root)}});
    made.expect("tree of devices");
    root.level = 1;
    made.sample.put_roots(made.volume, {{BtrfsSample::root_key(), BtrfsSample::bytes_of_object(root)}});
    made.expect("not the one that is meant");
    root.level = 0;
    for (const std::uint64_t logical : {0 * MiB, 2 * MiB, 9 * MiB - 2048, ~0ul}) {
        root.logical = logical;
        made.sample.put_roots(made.volume, {{BtrfsSample::root_key(), BtrfsSample::bytes_of_object(root)}});
        made.expect("in no chunk");
    }
    const std::byte one{1};
    REQUIRE(made.volume.write(sample.metadata_chunk + 2000, std::span(&one, 1)));
    made.expect("checksum");
}

TEST_CASE("the way to the devices goes through chunk trees of two levels") {
    BtrfsSample sample;
    sample.levels = 2;
    MemoryVolume volume(60 * MiB);
    sample.write_to(volume);
    CHECK(btrfs::grow(volume));
}
