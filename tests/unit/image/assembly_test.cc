// Images made of other things than a file and what its header names.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/assembly.hpp"

#include <doctest/doctest.h>

#include "base/bytes.hpp"
#include "qimg/operations/create.hpp"
#include "support/temporary_folder.hpp"

using namespace qimg;

namespace {

Result<std::unique_ptr<Image>> open(const std::string& path, Assembly assembly,
                                    std::optional<std::string> format = "raw") {
    OpenOptions options;
    options.format = std::move(format);
    options.access = Access::read_write;
    options.locking = Locking::share;
    options.assembly = std::make_shared<const Assembly>(std::move(assembly));
    return Image::open(path, options);
}

std::string text_at(const Image& image, std::uint64_t at, std::size_t bytes) {
    std::string text(bytes, '?');
    REQUIRE(image.read(GuestOffset(at), std::as_writable_bytes(std::span(text))));
    return text;
}

}  // namespace

TEST_CASE("a part of a file is a disk of that length") {
    const test::TemporaryFolder folder;
    folder.write("disk", std::string(512, 'a') + std::string(512, 'b') + std::string(512, 'c'));
    Assembly part;
    part.raw_start = 512;
    part.raw_bytes = 512;
    const auto image = open(folder / "disk", part);
    REQUIRE(image);
    CHECK((*image)->size() == 512);
    CHECK(text_at(**image, 0, 3) == "bbb");
    REQUIRE((*image)->write(GuestOffset(511), std::as_bytes(std::span("x", 1))));
    CHECK_FALSE((*image)->write(GuestOffset(512), std::as_bytes(std::span("x", 1))));
    CHECK(text_at(**open(folder / "disk", {}), 1022, 4) == "bxcc");
    part.raw_bytes = 2048;
    CHECK_FALSE(open(folder / "disk", part));
}

TEST_CASE("zeroes need no file, and keep nothing") {
    Assembly zeroes;
    zeroes.null_bytes = MiB;
    const auto image = open("no such file", zeroes);
    REQUIRE(image);
    CHECK((*image)->size() == MiB);
    REQUIRE((*image)->write(GuestOffset(0), std::as_bytes(std::span("x", 1))));
    CHECK(text_at(**image, 0, 1) == std::string(1, '\0'));
}

TEST_CASE("a fault fails the calls that touch its byte, once if so asked") {
    const test::TemporaryFolder folder;
    folder.write("disk", std::string(4096, 'a'));
    Assembly faulty;
    faulty.guest_faults = {{Fault::Operation::read, 1024, EIO, true},
                           {Fault::Operation::block_status, 2048, EIO, false}};
    const auto image = open(folder / "disk", faulty);
    REQUIRE(image);
    CHECK(text_at(**image, 0, 1024) == std::string(1024, 'a'));
    Bytes bytes(1025);
    const auto failed = (*image)->read(GuestOffset(0), bytes);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().system_errno == EIO);
    CHECK((*image)->read(GuestOffset(0), bytes));
    CHECK((*image)->extent(GuestRange(GuestOffset(0), 2048)));
    CHECK_FALSE((*image)->extent(GuestRange(GuestOffset(0), 2049)));
}

TEST_CASE("another backing image takes the place of the one in the header") {
    const test::TemporaryFolder folder;
    folder.write("first", std::string(512, '1'));
    folder.write("second", std::string(512, '2'));
    CreateOptions options;
    options.path = folder / "overlay";
    options.format = "qcow2";
    options.qcow2.backing_file = "first";
    options.qcow2.backing_format = "raw";
    REQUIRE(create(options));
    Assembly assembly;
    ImageLocation second{folder / "second", {}};
    second.open.format = "raw";
    assembly.backing = std::make_shared<const ImageLocation>(second);
    CHECK(text_at(**open(folder / "overlay", {}, "qcow2"), 0, 1) == "1");
    CHECK(text_at(**open(folder / "overlay", assembly, "qcow2"), 0, 1) == "2");
}
