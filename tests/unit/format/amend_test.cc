// What an existing image can become, and what it keeps.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/amend.hpp"

#include "support/sample_image.hpp"

using namespace qimg;
using namespace qimg::qcow2;
using namespace qimg::test;

namespace {

struct Sample {
    explicit Sample(const Qcow2Layout& layout) : file(starting_image(layout)) {}

    Result<void> amend(const Qcow2Amendment& wanted) {
        const auto image = open_image(file, true);
        const auto allowed = check_amendment(as_qcow2(*image), wanted);
        return allowed ? qcow2::amend(as_qcow2(*image), wanted, no_progress()) : allowed;
    }
    std::string refusal(const Qcow2Amendment& wanted) {
        const Bytes before = file.content();
        const auto done = amend(wanted);
        REQUIRE_FALSE(done);
        CHECK(file.content() == before);
        return done.error().message;
    }
    void check_whole() {
        const auto image = open_image(file, false);
        const auto report = check_image(as_qcow2(*image), Repair::none, {}, no_progress());
        REQUIRE(report);
        CHECK(report->corruptions == 0);
        CHECK(report->leaks == 0);
    }

    RecordingStorage file;
};

Qcow2Layout small_layout() {
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    return layout;
}

Qcow2Amendment to_width(unsigned bits) {
    Qcow2Amendment wanted;
    wanted.refcount_bits = bits;
    return wanted;
}

Qcow2Amendment to_version(unsigned version) {
    Qcow2Amendment wanted;
    wanted.version = version;
    return wanted;
}

}  // namespace

TEST_CASE("every refcount width becomes every other, without a leak") {
    for (const unsigned from : {2u, 4u, 8u, 16u, 32u, 64u}) {
        for (const unsigned to : {2u, 4u, 8u, 16u, 32u, 64u}) {
            CAPTURE(from);
            CAPTURE(to);
            Qcow2Layout layout = small_layout();
            layout.refcount_bits = from;
            Sample sample(layout);
            const Content before = read_content(sample.file);
            REQUIRE(sample.amend(to_width(to)));
            const Content after = read_content(sample.file);
            CHECK(after.refcount_bits == to);
            CHECK(after.disk == before.disk);
            CHECK(after.snapshots == before.snapshots);
            sample.check_whole();
        }
    }
}

TEST_CASE("a refcount that the new width cannot hold is told with its place") {
    Sample sample(small_layout());
    CHECK(sample.refusal(to_width(1))
              .starts_with("Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x"));
    CHECK(sample.refusal(to_width(3)) == "Refcount width must be a power of two and may not exceed 64 bits");
    CHECK(sample.refusal(to_width(128)) ==
          "Refcount width must be a power of two and may not exceed 64 bits");
}

TEST_CASE("an image whose metadata counts as free is not amended") {
    Sample sample(small_layout());
    {
        const auto image = open_image(sample.file, false);
        const auto l1 = as_qcow2(*image).header().l1_table;
        REQUIRE(as_qcow2(*image).refcounts().load());
        const HostOffset block(as_qcow2(*image).refcounts().table().front());
        const be16 none = 0;
        REQUIRE(sample.file.write(block + l1.bytes / 512 * 2, std::as_bytes(std::span(&none, 1))));
    }
    CHECK(sample.refusal(to_width(64)).find("counts as free, but is part of the active L1 table") !=
          std::string::npos);
}

TEST_CASE("version 2 takes neither subclusters nor zstd data nor snapshots of another size") {
    Qcow2Layout subclusters = small_layout();
    subclusters.cluster_bytes = 16384;
    subclusters.extended_l2 = true;
    CHECK(Sample(subclusters).refusal(to_version(2)) ==
          "Cannot downgrade an image with incompatible features 0x10 set");

    Sample longer(small_layout());
    REQUIRE(grow(as_qcow2(*open_image(longer.file, true)), 400 * KiB, [] { return Result<void>(); }));
    CHECK(longer.refusal(to_version(2)) == "Internal snapshots prevent downgrade of image");

    Qcow2Layout zstd = small_layout();
    zstd.compression_type = "zstd";
    Sample without_compressed(zstd);
    REQUIRE(without_compressed.amend(to_version(2)));
    Sample with_compressed(zstd);
    {
        const auto image = open_image(with_compressed.file, true);
        REQUIRE(as_qcow2(*image).write_compressed(GuestOffset(0), Bytes(100)));
        REQUIRE(image->flush());
    }
    CHECK(with_compressed.refusal(to_version(2)) ==
          "Cannot downgrade an image with zstd compression type and existing compressed clusters");
}

TEST_CASE("zeroes stay zeroes in version 2, over a backing file, too") {
    for (const bool is_overlay : {false, true}) {
        CAPTURE(is_overlay);
        Qcow2Layout layout = small_layout();
        if (is_overlay) layout.backing_file = "base";
        Sample sample(layout);
        const Content before = read_content(sample.file);
        REQUIRE(sample.amend(to_version(2)));
        const Content after = read_content(sample.file);
        CHECK(after.version == 2);
        CHECK(after.disk == before.disk);
        CHECK(after.snapshots == before.snapshots);
        sample.check_whole();
        REQUIRE(sample.amend(to_version(3)));
        sample.check_whole();
    }
}

TEST_CASE("the way to version 3 completes snapshot entries and keeps what is in them") {
    Qcow2Layout old = small_layout();
    old.version = 2;
    Sample sample(old);
    {
        // an entry as programs wrote it before there was extra data
        const auto image = open_image(sample.file, false);
        const Header& header = as_qcow2(*image).header();
        Bytes raw(512);
        REQUIRE(sample.file.read(header.snapshot_table, raw));
        auto entry = load<disk::SnapshotEntry>(raw);
        entry.extra_data_size = 0;
        entry.vm_state_bytes = 77;
        Bytes shorter(raw.begin(), raw.begin() + sizeof(entry));
        std::copy_n(std::as_bytes(std::span(&entry, 1)).begin(), sizeof(entry), shorter.begin());
        const auto names = std::span(raw).subspan(sizeof(entry) + sizeof(disk::SnapshotExtra), 8);
        shorter.insert(shorter.end(), names.begin(), names.end());
        REQUIRE(sample.file.write(header.snapshot_table, shorter));
    }
    REQUIRE(sample.amend(to_version(3)));
    const auto image = open_image(sample.file, false);
    const auto snapshots = read_snapshots(sample.file, as_qcow2(*image).header());
    REQUIRE(snapshots);
    REQUIRE(snapshots->size() == 1);
    CHECK(snapshots->front().extra_bytes == sizeof(disk::SnapshotExtra));
    CHECK(snapshots->front().info.name == "first");
    CHECK(snapshots->front().info.vm_state_bytes == 77);
    CHECK(snapshots->front().info.disk_bytes == image->size());
    CHECK_FALSE(snapshots->front().info.icount);
    sample.check_whole();
}

TEST_CASE("nothing to change writes nothing") {
    Sample sample(small_layout());
    const Bytes before = sample.file.content();
    REQUIRE(sample.amend(to_version(3)));
    REQUIRE(sample.amend(to_width(16)));
    CHECK(sample.file.content() == before);
}
