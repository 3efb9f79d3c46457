// What a transaction refuses, writes and leaves alone. The crash tests cut it at every call.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/transaction.hpp"

#include <doctest/doctest.h>

#include "format/qcow2/bitmap_content.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "qimg/image.hpp"
#include "support/recording_storage.hpp"
#include "support/sample_image.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

struct SmallClusters {
    explicit SmallClusters(std::uint64_t bytes, unsigned version = 3) {
        Qcow2Layout layout;
        layout.cluster_bytes = 512;
        layout.version = version;
        REQUIRE(create_empty(file, layout, bytes));
        reopen();
    }
    void reopen() { image = test::open_image(file, true); }
    Qcow2& format() { return test::as_qcow2(*image); }
    Bytes content() const {
        Bytes all(image->size());
        REQUIRE(image->read(GuestOffset(0), all));
        return all;
    }
    test::RecordingStorage file;
    std::unique_ptr<Image> image;
};

NewDisk new_disk(const Bytes& content, std::vector<ChangedPart> changes) {
    return {content.size(), std::move(changes),
            [&content](GuestOffset at, std::span<std::byte> into) -> Result<void> {
                std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(at.bytes), into.size(),
                            into.begin());
                return {};
            }};
}

}  // namespace

TEST_CASE("only the header is written where something was, and only once") {
    SmallClusters disk(MiB);
    REQUIRE(disk.image->write(GuestOffset(0), Bytes(300'000, std::byte{1})));
    REQUIRE(disk.image->flush());
    const Bytes before = disk.file.content();
    Bytes content = disk.content();
    content.resize(3 * MiB);
    std::fill_n(content.begin() + 1000, 100'000, std::byte{2});
    std::fill_n(content.begin() + 2 * MiB + 7, 1000, std::byte{3});
    const std::size_t calls = disk.file.log().size();
    REQUIRE(replace_disk(disk.format(), new_disk(content, {{GuestRange(GuestOffset(1000), 100'000)},
                                                           {GuestRange(GuestOffset(2 * MiB + 7), 1000)}})));
    int headers = 0;
    for (const test::LoggedCall& call : std::span(disk.file.log()).subspan(calls)) {
        if (call.kind != test::LoggedCall::Kind::write) continue;
        if (call.at.bytes == 0) ++headers;
        // refcounts are counted in place; a guest's byte never changes in front of the header's write
        const bool in_old_data = call.at.bytes < before.size() && before[call.at.bytes] == std::byte{1};
        if (headers == 0) CHECK_FALSE(in_old_data);
    }
    CHECK(headers >= 1);
    disk.reopen();
    CHECK(disk.content() == content);
}

TEST_CASE("zeroes get no space, nor does a disk that only becomes longer") {
    SmallClusters disk(MiB);
    REQUIRE(disk.image->write(GuestOffset(0), Bytes(MiB, std::byte{1})));
    REQUIRE(disk.image->flush());
    const Bytes content(64 * MiB);
    REQUIRE(replace_disk(disk.format(), new_disk(content, {{GuestRange(GuestOffset(0), 64 * MiB), true}})));
    CHECK(disk.format().refcounts().get(disk.file.size().value() / 512).value() == 0);
    std::uint64_t used = 0;
    for (std::uint64_t cluster = 0; cluster < disk.file.size().value() / 512; ++cluster)
        used += disk.format().refcounts().get(cluster).value() != 0 ? 1 : 0;
    CHECK(used < 300);  // 32 L2 tables, 32 KiB of L1 table, refcounts
    CHECK(is_zero(disk.content()));
}

TEST_CASE("what a shrink that was stopped left behind the end does not come back") {
    SmallClusters disk(MiB);
    REQUIRE(disk.image->write(GuestOffset(0), Bytes(MiB, std::byte{1})));
    REQUIRE(disk.image->flush());
    disk.format().header().size = 300 * KiB;
    REQUIRE(disk.format().commit_header());
    disk.reopen();
    Bytes content = disk.content();
    content.resize(2 * MiB);
    REQUIRE(replace_disk(disk.format(), new_disk(content, {})));
    disk.reopen();
    CHECK(disk.content() == content);
}

TEST_CASE("disks that cannot be replaced are left alone") {
    SmallClusters disk(MiB, 2);
    CHECK(check_can_replace(disk.format(), MiB));
    CHECK(check_can_replace(disk.format(), MiB - 512).error().kind == ErrorKind::invalid_argument);
    CHECK(check_can_replace(disk.format(), 1ull << 50).error().kind == ErrorKind::no_space);
    REQUIRE(create_snapshot(disk.format(), "first", {}));
    CHECK(check_can_replace(disk.format(), MiB));
    CHECK(check_can_replace(disk.format(), 2 * MiB).error().kind == ErrorKind::unsupported);
}

TEST_CASE("bitmaps that record know what changed, and are as long as the disk; those that do not stay") {
    SmallClusters disk(MiB);
    REQUIRE(test::edit_bitmaps(*disk.image, {[](BitmapEditor& e) { return e.add("on", 512, true); },
                                             [](BitmapEditor& e) { return e.add("off", 512, false); }}));
    REQUIRE(disk.image->write(GuestOffset(4096), Bytes(512, std::byte{1})));
    REQUIRE(disk.image->flush());
    for (const std::uint64_t bytes : {MiB, 2 * MiB}) {
        CAPTURE(bytes);
        Bytes content = disk.content();
        content.resize(bytes);
        std::fill_n(content.begin() + 20000, 100, std::byte{2});
        REQUIRE(replace_disk(disk.format(), new_disk(content, {{GuestRange(GuestOffset(20000), 100)}})));
        disk.reopen();
        CHECK(disk.content() == content);
        const Header& header = disk.format().header();
        const auto directory = read_bitmaps(disk.file, header).value();
        REQUIRE(directory.bitmaps.size() == 2);
        for (const Bitmap& bitmap : directory.bitmaps) {
            CHECK_FALSE(bitmap.info.in_use);
            const auto bits = BitmapContent::load(disk.file, header, bitmap).value();
            CHECK(bits.disk_bytes() == bytes);
            std::vector<GuestRange> runs;
            REQUIRE(bits.for_each_run([&](GuestRange run) -> Result<void> {
                runs.push_back(run);
                return {};
            }));
            const bool is_recording = bitmap.info.name == "on";
            const std::vector<GuestRange> expected{{GuestOffset(4096), 512}, {GuestOffset(19968), 512}};
            CHECK(runs == (is_recording ? expected : std::vector<GuestRange>()));
        }
        const auto report = check_image(disk.format(), Repair::none, {}, no_progress()).value();
        CHECK(report.corruptions + report.leaks + report.check_errors == 0);
    }
}
