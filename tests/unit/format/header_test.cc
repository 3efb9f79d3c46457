// What a qcow2 header may say, and what survives a rewrite.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "format/qcow2/create.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

std::unique_ptr<Storage> empty_image(Qcow2Layout layout = {}) {
    auto storage = memory_storage();
    REQUIRE(create_empty(*storage, layout, GiB));
    return storage;
}

// The error for an image of which the raw header was changed.
Error error_after(const std::function<void(disk::Header&)>& change, const Qcow2Layout& layout = {}) {
    const auto storage = empty_image(layout);
    Bytes raw(sizeof(disk::Header));
    REQUIRE(storage->read(HostOffset(0), raw));
    auto header = load<disk::Header>(raw);
    change(header);
    REQUIRE(storage->write(HostOffset(0), std::as_bytes(std::span(&header, 1))));
    const auto read = read_header(*storage);
    REQUIRE_FALSE(read);
    return read.error();
}

}  // namespace

TEST_CASE("a new image's header says what was asked for") {
    Qcow2Layout layout;
    layout.cluster_bytes = 4096;
    layout.refcount_bits = 1;
    layout.backing_file = "base.img";
    layout.backing_format = "raw";
    const Header header = read_header(*empty_image(layout)).value();
    CHECK(header.version == 3);
    CHECK(header.size == GiB);
    CHECK(header.geometry.cluster_bytes() == 4096);
    CHECK(header.geometry.refcount_bits() == 1);
    CHECK(header.backing_file == "base.img");
    CHECK(header.backing_format() == "raw");
    CHECK(header.header_bytes == 112);
    CHECK(header.find(disk::extension_feature_names)->data.size() == 384);
}

TEST_CASE("a new 64 KiB cluster image has QEMU's layout") {
    const Header header = read_header(*empty_image()).value();
    CHECK(header.refcount_table.bytes == 0x10000);
    CHECK(header.l1_table.bytes == 0x30000);
}

TEST_CASE("a version 2 header is 72 bytes long and has 16-bit refcounts") {
    Qcow2Layout layout;
    layout.version = 2;
    const Header header = read_header(*empty_image(layout)).value();
    CHECK(header.header_bytes == 72);
    CHECK(header.geometry.refcount_bits() == 16);
    CHECK(header.find(disk::extension_feature_names) == nullptr);
}

TEST_CASE("a file without the magic is no qcow2 image") {
    const auto storage = memory_storage();
    CHECK(read_header(*storage).error().message == "Image is not in qcow2 format");
}

TEST_CASE("header fields out of range are refused with QEMU's words") {
    CHECK(error_after([](auto& h) { h.version = 4; }).message == "Unsupported qcow2 version 4");
    CHECK(error_after([](auto& h) { h.cluster_bits = 8; }).message == "Unsupported cluster size: 2^8");
    CHECK(error_after([](auto& h) { h.cluster_bits = 22; }).message == "Unsupported cluster size: 2^22");
    CHECK(error_after([](auto& h) { h.header_length = 96; }).message == "qcow2 header too short");
    CHECK(error_after([](auto& h) { h.header_length = 0x10008; }).message ==
          "qcow2 header exceeds cluster size");
    CHECK(error_after([](auto& h) { h.refcount_order = 7; }).message ==
          "Reference count entry width too large; may not exceed 64 bits");
    CHECK(error_after([](auto& h) { h.refcount_table_clusters = 0x81; }).message ==
          "Reference count table too large");
    CHECK(error_after([](auto& h) { h.refcount_table_offset = 0x10200; }).message ==
          "Reference count table offset invalid");
    CHECK(error_after([](auto& h) { h.l1_size = 0x400001; }).message == "Active L1 table too large");
    CHECK(error_after([](auto& h) { h.l1_table_offset = 0x30001; }).message ==
          "Active L1 table offset invalid");
    CHECK(error_after([](auto& h) { h.l1_size = 1; }).message == "L1 table is too small");
    CHECK(error_after([](auto& h) { h.nb_snapshots = 1; }).message == "Snapshot table offset invalid");
    CHECK(error_after([](auto& h) { h.size = 1ull << 60; }).message == "Image is too big");
    CHECK(error_after([](auto& h) { h.crypt_method = 3; }).message == "Unsupported encryption method 3");
    CHECK(error_after([](auto& h) { h.backing_file_offset = 0x10001; }).message ==
          "Invalid backing file offset");
    CHECK(error_after([](auto& h) {
              h.backing_file_offset = 0x1000;
              h.backing_file_size = 1024;
          }).message == "Backing file name too long");
}

TEST_CASE("an error says which value broke the rule") {
    CHECK(error_after([](auto& h) { h.l1_table_offset = 0x30001; }).detail == "l1_table_offset 0x30001");
}

TEST_CASE("unknown incompatible features are named from the image's own table") {
    const Error unnamed = error_after([](auto& h) { h.incompatible_features = 1ull << 63; });
    CHECK(unnamed.kind == ErrorKind::unsupported);
    CHECK(unnamed.message == "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000000");

    const auto storage = empty_image();
    Header header = read_header(*storage).value();
    header.incompatible |= 1ull << 42;
    disk::FeatureName name{0, 42, {'t', 'i', 'm', 'e', '\x1b'}};
    Extension table{disk::extension_feature_names, {}};
    const auto bytes = std::as_bytes(std::span(&name, 1));
    table.data.assign(bytes.begin(), bytes.end());
    // written by hand: serialize_header always writes the table that this library knows
    Bytes raw = serialize_fields(header);
    const disk::ExtensionHeader head{table.type, 48};
    const auto head_bytes = std::as_bytes(std::span(&head, 1));
    raw.insert(raw.end(), head_bytes.begin(), head_bytes.end());
    raw.insert(raw.end(), table.data.begin(), table.data.end());
    raw.resize(raw.size() + 8);
    REQUIRE(storage->write(HostOffset(0), raw));
    CHECK(read_header(*storage).error().message == "Unsupported qcow2 feature(s): time\\x1b");
}

TEST_CASE("a compression type without its feature bit is refused, and the other way round") {
    CHECK_FALSE(error_after([](auto& h) { h.compression_type = 1; }).message.empty());
    CHECK_FALSE(error_after([](auto& h) {
                    h.incompatible_features = disk::incompatible_compression;
                }).message.empty());
}

TEST_CASE("an extension that is longer than the cluster is refused") {
    const auto storage = empty_image();
    const disk::ExtensionHeader head{0x12345678, 0xfffffff0};
    REQUIRE(storage->write(HostOffset(112), std::as_bytes(std::span(&head, 1))));
    CHECK(read_header(*storage).error().message == "Header extension too large");
}

TEST_CASE("unknown extensions and header fields survive a rewrite") {
    const auto storage = empty_image();
    Header header = read_header(*storage).value();
    header.extensions.push_back({0x12345678, Bytes(5, std::byte{0xab})});
    header.unknown_fields = Bytes(8, std::byte{0xcd});
    REQUIRE(storage->write(HostOffset(0), serialize_header(header).value()));
    const Header again = read_header(*storage).value();
    REQUIRE(again.find(0x12345678) != nullptr);
    CHECK(again.find(0x12345678)->data == Bytes(5, std::byte{0xab}));
    CHECK(again.unknown_fields == Bytes(8, std::byte{0xcd}));
    CHECK(again.header_bytes == 120);
}

TEST_CASE("of two extensions of a type, the later one counts") {
    Header header;
    header.set_text_extension(disk::extension_backing_format, "raw");
    const auto later = bytes_of("qcow2");
    header.extensions.push_back({disk::extension_backing_format, Bytes(later.begin(), later.end())});
    CHECK(header.backing_format() == "qcow2");
}

TEST_CASE("the feature name table is left out where the cluster has no room for it") {
    Qcow2Layout layout;
    layout.cluster_bytes = 512;
    layout.backing_file = std::string(300, 'b');
    const Header header = read_header(*empty_image(layout)).value();
    CHECK(header.backing_file == std::string(300, 'b'));
    CHECK(header.find(disk::extension_feature_names) == nullptr);
    layout.backing_file = std::string(500, 'b');
    CHECK(create_empty(*memory_storage(), layout, MiB).error().kind == ErrorKind::no_space);
}
