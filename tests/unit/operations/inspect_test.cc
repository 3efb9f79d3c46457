// Each reason not to use an image from a stranger, in an image that gives this one alone where that can be.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/inspect.hpp"

#include <doctest/doctest.h>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/disk_layout.hpp"
#include "qimg/operations/bitmap.hpp"
#include "qimg/operations/snapshot.hpp"
#include "support/gpt_disk.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

using Codes = std::vector<std::string>;

// One file in memory, and no other.
class OneFile final : public Opener {
  public:
    explicit OneFile(std::unique_ptr<Storage> file) : file_(std::move(file)) {}
    explicit OneFile(const Qcow2Layout& layout, std::uint64_t bytes = MiB) : file_(memory_storage()) {
        REQUIRE(qcow2::create_empty(*file_, layout, bytes));
    }

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions&) override {
        CHECK(path == "image");
        return borrow_storage(*file_);
    }

    Codes codes(InspectOptions options = {}) {
        options.path = "image";
        const auto verdict = inspect_untrusted(options, *this);
        REQUIRE_MESSAGE(verdict, (verdict ? "" : verdict.error().message));
        Codes codes;
        for (const UnsafeReason& reason : verdict->reasons)
            codes.push_back(reason.code);
        CHECK(verdict->is_safe() == codes.empty());
        return codes;
    }

    template <class Integer>
    Integer get(std::uint64_t at) const {
        Integer value;
        REQUIRE(file_->read(HostOffset(at), std::as_writable_bytes(std::span(&value, 1))));
        return value;
    }
    template <class Integer>
    void put(std::uint64_t at, Integer value) {
        REQUIRE(file_->write(HostOffset(at), std::as_bytes(std::span(&value, 1))));
    }
    void put_text(std::uint64_t at, std::string_view text) {
        REQUIRE(file_->write(HostOffset(at), bytes_of(text)));
    }
    std::uint64_t size() const { return file_->size().value(); }
    // Where a header extension's data is.
    std::uint64_t extension(std::uint32_t type) const {
        std::uint64_t at = get<be32>(offsetof(qcow2::disk::Header, header_length));
        while (get<be32>(at) != type) {
            REQUIRE(get<be32>(at) != qcow2::disk::extension_end);
            at += sizeof(qcow2::disk::ExtensionHeader) + round_up(get<be32>(at + 4), 8);
        }
        return at + sizeof(qcow2::disk::ExtensionHeader);
    }
    void write_guest(std::uint64_t at, std::uint64_t count) {
        OpenOptions options;
        options.access = Access::read_write;
        const auto image = Image::open("image", options, *this);
        REQUIRE(image);
        REQUIRE((*image)->write(GuestOffset(at), Bytes(count, std::byte{7})));
        REQUIRE((*image)->flush());
    }
    void snapshot(const std::string& name) { REQUIRE(snapshot_create({"image", {}, name}, *this)); }
    void bitmap(const std::string& name) {
        BitmapOptions options;
        options.path = "image";
        options.name = name;
        options.steps = {{BitmapAction::add, {}}};
        REQUIRE(change_bitmaps(options, *this));
    }

  private:
    std::unique_ptr<Storage> file_;
};

OneFile raw_file(std::uint64_t bytes = MiB) {
    auto file = memory_storage();
    REQUIRE(file->resize(bytes));
    return OneFile(std::move(file));
}

void add_incompatible(OneFile& image, std::uint64_t bits) {
    constexpr std::size_t at = offsetof(qcow2::disk::Header, incompatible_features);
    image.put(at, be64(image.get<be64>(at) | bits));
}

InspectOptions said_to_be(const std::string& format) {
    InspectOptions options;
    options.format = format;
    return options;
}

}  // namespace

TEST_CASE("what is as it should be gives no reason") {
    OneFile image{Qcow2Layout()};
    image.write_guest(0, 100 * KiB);
    image.snapshot("one");
    image.bitmap("b0");
    CHECK(image.codes().empty());
    CHECK(image.codes(said_to_be("qcow2")).empty());
    CHECK(raw_file().codes().empty());
    CHECK(raw_file().codes(said_to_be("raw")).empty());
    CHECK(OneFile(GptDisk().file()).codes().empty());
}

TEST_CASE("other files that an image names are reasons, and are not opened") {
    Qcow2Layout layout;
    layout.backing_file = "/etc/passwd";
    layout.backing_format = "raw";
    CHECK(OneFile(layout).codes() == Codes{"backing-file"});
    layout = {};
    layout.data_file = "/dev/sda";
    CHECK(OneFile(layout).codes() == Codes{"data-file"});
}

TEST_CASE("names that would do something to a terminal") {
    Qcow2Layout layout;
    layout.backing_file = "base\x1b[2J";
    layout.backing_format = "qcow2";
    CHECK(OneFile(layout).codes() == Codes{"backing-file", "control-characters"});
    layout = {};
    layout.data_file = "data\x1b[2J";
    CHECK(OneFile(layout).codes() == Codes{"data-file", "control-characters"});
    OneFile image{Qcow2Layout()};
    image.snapshot("one\r");
    CHECK(image.codes() == Codes{"control-characters"});
    image.bitmap("b\n0");
    CHECK(image.codes() == Codes{"control-characters", "control-characters"});
}

TEST_CASE("headers that cannot be relied on") {
    OneFile unknown{Qcow2Layout()};
    add_incompatible(unknown, 1u << 20);
    CHECK(unknown.codes() == Codes{"unknown-feature"});

    OneFile encrypted{Qcow2Layout()};
    encrypted.put(offsetof(qcow2::disk::Header, crypt_method), be32(1));
    CHECK(encrypted.codes() == Codes{"encryption"});

    OneFile impossible{Qcow2Layout()};
    impossible.put(offsetof(qcow2::disk::Header, cluster_bits), be32(40));
    CHECK(impossible.codes() == Codes{"invalid-header"});

    OneFile dirty{Qcow2Layout()};
    add_incompatible(dirty, qcow2::disk::incompatible_dirty);
    CHECK(dirty.codes() == Codes{"dirty"});

    OneFile corrupt{Qcow2Layout()};
    add_incompatible(corrupt, qcow2::disk::incompatible_corrupt);
    CHECK(corrupt.codes() == Codes{"marked-corrupt"});
}

TEST_CASE("several things that are wrong with a header are all told") {
    OneFile image{Qcow2Layout()};
    add_incompatible(image, 1u << 20 | qcow2::disk::incompatible_dirty);
    image.put(offsetof(qcow2::disk::Header, crypt_method), be32(1));
    CHECK(image.codes() == Codes{"unknown-feature", "encryption", "dirty"});
}

TEST_CASE("tables of snapshots and bitmaps that lead out of the file") {
    OneFile table{Qcow2Layout()};
    table.snapshot("one");
    const std::uint64_t at = table.get<be64>(offsetof(qcow2::disk::Header, snapshots_offset));
    table.put(at + offsetof(qcow2::disk::SnapshotEntry, l1_table_offset), be64(1ull << 40));
    CHECK(table.codes().front() == "snapshot-table");
    table.put(offsetof(qcow2::disk::Header, snapshots_offset), be64(1ull << 40));
    CHECK(table.codes().front() == "snapshot-table");
    table.put(offsetof(qcow2::disk::Header, snapshots_offset), be64(512));
    CHECK(table.codes() == Codes{"invalid-header"});

    OneFile bitmaps{Qcow2Layout()};
    bitmaps.bitmap("b0");
    bitmaps.put(bitmaps.extension(qcow2::disk::extension_bitmaps) +
                    offsetof(qcow2::disk::BitmapsExtension, directory_offset),
                be64(1ull << 40));
    CHECK(bitmaps.codes().front() == "bitmap-directory");
}

TEST_CASE("tables that do not agree") {
    OneFile image{Qcow2Layout()};
    image.write_guest(0, 1);
    const std::uint64_t l1 = image.get<be64>(offsetof(qcow2::disk::Header, l1_table_offset));
    image.put(l1, be64(image.get<be64>(l1) + 512));
    CHECK(image.codes() == Codes{"inconsistent"});
}

TEST_CASE("one cluster that a disk consists of") {
    constexpr std::uint64_t clusters = 5000;
    OneFile image(Qcow2Layout(), 8192 * 64 * KiB);
    image.write_guest(0, 1);
    const std::uint64_t l1 = image.get<be64>(offsetof(qcow2::disk::Header, l1_table_offset));
    const std::uint64_t l2 = image.get<be64>(l1) & qcow2::disk::offset_mask;
    const std::uint64_t data = image.get<be64>(l2) & qcow2::disk::offset_mask;
    for (std::uint64_t i = 0; i < clusters; ++i)
        image.put(l2 + i * 8, be64(data));
    const std::uint64_t table = image.get<be64>(offsetof(qcow2::disk::Header, refcount_table_offset));
    image.put(image.get<be64>(table) + data / (64 * KiB) * 2, be16(clusters));
    CHECK(image.codes() == Codes{"expansion"});
}

TEST_CASE("a disk that is larger than whoever asks would have it") {
    InspectOptions options;
    options.virtual_bytes_max = MiB;
    CHECK(OneFile(Qcow2Layout()).codes(options).empty());
    CHECK(raw_file().codes(options).empty());
    CHECK(OneFile(Qcow2Layout(), MiB + 512).codes(options) == Codes{"virtual-size"});
    CHECK(raw_file(MiB + 512).codes(options) == Codes{"virtual-size"});
}

TEST_CASE("what is not the format that it is said to be, or could be another") {
    CHECK(OneFile(Qcow2Layout()).codes(said_to_be("raw")) == Codes{"format-mismatch"});
    CHECK(raw_file().codes(said_to_be("qcow2")) == Codes{"format-mismatch"});

    OneFile volume{Qcow2Layout()};
    volume.put_text(32769, "CD001");
    CHECK(volume.codes() == Codes{"ambiguous-format"});
    OneFile raw_volume = raw_file();
    raw_volume.put_text(32769, "CD001");
    CHECK(raw_volume.codes() == Codes{"foreign-format"});
    OneFile with_footer = raw_file();
    with_footer.put_text(MiB - 512, "conectix");
    CHECK(with_footer.codes() == Codes{"foreign-format"});
    OneFile foreign = raw_file();
    foreign.put_text(0, "vhdxfile");
    CHECK(foreign.codes() == Codes{"foreign-format"});
    // one of ours by its first bytes, and by no others
    OneFile vmdk = raw_file();
    vmdk.put_text(0, "KDMV");
    CHECK(vmdk.codes() == Codes{"unknown-feature"});  // its version is 0
}

TEST_CASE("partition tables of a raw disk that do not fit it, or each other") {
    GptDisk disk;
    disk.entries[1] = disk.entries[0];
    CHECK(OneFile(disk.file()).codes() == Codes{"partition-overlap"});
    disk.entries[1].first_sector = GptDisk::sectors - 1;
    disk.entries[1].last_sector = GptDisk::sectors;
    CHECK(OneFile(disk.file()).codes() == Codes{"partition-past-end"});
    disk = {};
    disk.mbr.entries[0].sectors = 1000;
    CHECK(OneFile(disk.file()).codes() == Codes{"mbr-mismatch"});
    disk = {};
    disk.first.entries = 0xffffffff;
    CHECK(OneFile(disk.file()).codes() == Codes{"gpt-broken"});
    disk = {};
    disk.backup.last_usable = 500;
    CHECK(OneFile(disk.file()).codes() == Codes{"gpt-backup"});
    disk = {};
    disk.mbr.entries[0].sectors = 0xffffffff;
    disk.disk_sectors += 100;
    CHECK(OneFile(disk.file()).codes() == Codes{"trailing-data"});
}
