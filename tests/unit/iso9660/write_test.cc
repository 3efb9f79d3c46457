// ISO 9660 volumes, read back with a reader of this test's own, straight from ECMA-119 and Joliet.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "qimg/iso9660.hpp"

using namespace qimg;

namespace {

constexpr std::size_t block = 2048;

std::string image_of(const std::vector<VolumeFile>& files, const Iso9660Options& options) {
    const auto storage = memory_storage();
    REQUIRE(write_iso9660(files, options, *storage));
    std::string image(storage->size().value(), '\xee');
    REQUIRE(storage->read(HostOffset(0), std::as_writable_bytes(std::span(image))));
    return image;
}

std::uint32_t number(std::string_view image, std::size_t at) {
    return load<le32>(bytes_of(image.substr(at, 4)));
}

struct Entry {
    std::string identifier;
    std::string contents;
    std::string system_use;
};

// The records of the root directory that the descriptor in `descriptor_block` names.
std::vector<Entry> root_of(std::string_view image, std::size_t descriptor_block) {
    const std::size_t root_record = descriptor_block * block + 156;
    const std::size_t begin = number(image, root_record + 2) * block;
    const std::size_t end = begin + number(image, root_record + 10);
    REQUIRE(end <= image.size());
    std::vector<Entry> entries;
    for (std::size_t at = begin; at < end;) {
        const std::size_t length = static_cast<unsigned char>(image[at]);
        if (length == 0) {
            at = at / block * block + block;
            continue;
        }
        CHECK(at / block == (at + length - 1) / block);
        const std::size_t name_length = static_cast<unsigned char>(image[at + 32]);
        Entry entry;
        entry.identifier = image.substr(at + 33, name_length);
        const std::size_t after_name = 33 + name_length + (name_length % 2 == 0 ? 1 : 0);
        entry.system_use = image.substr(at + after_name, length - after_name);
        const std::size_t extent = number(image, at + 2) * block;
        const std::size_t bytes = number(image, at + 10);
        REQUIRE(extent + bytes <= image.size());
        entry.contents = image.substr(extent, bytes);
        entries.push_back(entry);
        at += length;
    }
    return entries;
}

std::string without_zero_bytes(std::string text) {
    std::erase(text, '\0');
    return text;
}

// The alternate name in a system use area.
std::string rock_ridge_name(std::string_view area) {
    while (area.size() >= 4) {
        const std::size_t length = static_cast<unsigned char>(area[2]);
        REQUIRE(length >= 4);
        if (area.starts_with("NM")) return std::string(area.substr(5, length - 5));
        area.remove_prefix(std::min(area.size(), length));
    }
    return {};
}

const std::vector<VolumeFile> seed_files{
    {"user-data", "#cloud-config\n"}, {"meta-data", ""}, {"network-config", std::string(5000, 'n')}};
const Iso9660Options options{"cidata", 1'577'836'800};

}  // namespace

TEST_CASE("the volume id is written as it was given, in Joliet as UCS-2") {
    const std::string image = image_of(seed_files, options);
    CHECK(image.substr(16 * block, 7) ==
          "\x01"
          "CD001"
          "\x01");
    CHECK(image.substr(16 * block + 40, 32) == "cidata" + std::string(26, ' '));
    CHECK(image.substr(17 * block, 7) ==
          "\x02"
          "CD001"
          "\x01");
    CHECK(image.substr(17 * block + 40, 12) == std::string("\0c\0i\0d\0a\0t\0a", 12));
    CHECK(image.substr(17 * block + 88, 3) == "%/E");
    CHECK(image.substr(18 * block, 7) ==
          "\xff"
          "CD001"
          "\x01");
}

TEST_CASE("the volume's size is the image's size") {
    const std::string image = image_of(seed_files, options);
    CHECK(image.size() % block == 0);
    CHECK(number(image, 16 * block + 80) * block == image.size());
    CHECK(number(image, 17 * block + 80) * block == image.size());
}

TEST_CASE("files have level-1 identifiers, Rock Ridge names and Joliet names, sorted") {
    const std::string image = image_of(seed_files, options);
    const auto plain = root_of(image, 16);
    REQUIRE(plain.size() == 5);
    CHECK(plain[0].identifier == std::string(1, '\0'));
    CHECK(plain[1].identifier == "\x01");
    CHECK(plain[2].identifier == "META_DAT.;1");
    CHECK(plain[3].identifier == "NETWORK_.;1");
    CHECK(plain[4].identifier == "USER_DAT.;1");
    CHECK(rock_ridge_name(plain[2].system_use) == "meta-data");
    CHECK(rock_ridge_name(plain[4].system_use) == "user-data");
    CHECK(plain[3].contents == seed_files[2].contents);
    const auto joliet = root_of(image, 17);
    REQUIRE(joliet.size() == 5);
    CHECK(joliet[2].identifier == std::string("\0m\0e\0t\0a\0-\0d\0a\0t\0a", 18));
    CHECK(without_zero_bytes(joliet[4].identifier) == "user-data");
    CHECK(joliet[4].contents == "#cloud-config\n");
}

TEST_CASE("the root announces the sharing protocol and RRIP_1991A") {
    const std::string image = image_of(seed_files, options);
    const std::string own = root_of(image, 16)[0].system_use;
    CHECK(own.starts_with(std::string("SP\x07\x01\xbe\xef\0", 7)));
    const std::size_t ce = own.find("CE\x1c\x01");
    REQUIRE(ce != std::string::npos);
    const std::size_t area = number(own, ce + 4) * block + number(own, ce + 12);
    CHECK(image.substr(area, 2) == "ER");
    CHECK(image.substr(area + 8, 10) == "RRIP_1991A");
    CHECK(number(own, ce + 20) == static_cast<unsigned char>(image[area + 2]));
}

TEST_CASE("the same files give the same bytes, whatever the time zone") {
    REQUIRE(::setenv("TZ", "Asia/Kathmandu", 1) == 0);
    const std::string there = image_of(seed_files, options);
    REQUIRE(::setenv("TZ", "UTC", 1) == 0);
    CHECK(there == image_of(seed_files, options));
    CHECK(there.substr(16 * block + 813, 16) == "2020010100000000");
}

TEST_CASE("directories of many blocks keep every record inside one") {
    std::vector<VolumeFile> files;
    for (int i = 0; i < 256; ++i)
        files.push_back({"a-long-name-that-differs-late-" + std::to_string(i), std::to_string(i)});
    const std::string image = image_of(files, options);
    std::map<std::string, std::string> contents;
    for (const Entry& entry : root_of(image, 17))
        contents[without_zero_bytes(entry.identifier)] = entry.contents;
    for (const VolumeFile& file : files)
        CHECK(contents[file.name] == file.contents);
    std::map<std::string, std::string> plain;
    for (const Entry& entry : root_of(image, 16)) {
        CHECK(plain.emplace(entry.identifier, "").second);
        if (const std::string name = rock_ridge_name(entry.system_use); !name.empty()) {
            CHECK(contents[name] == entry.contents);
        }
    }
    CHECK(plain.size() == 258);
}

TEST_CASE("a directory that fills its block to the byte stays readable") {
    // every count crosses the block's end somewhere else
    for (std::size_t count = 0; count < 40; ++count) {
        std::vector<VolumeFile> files;
        for (std::size_t i = 0; i < count; ++i)
            files.push_back({std::string(1 + count % 7, 'x') + std::to_string(i), "y"});
        CHECK(root_of(image_of(files, options), 16).size() == count + 2);
    }
}

TEST_CASE("names that no guest could open are refused") {
    const auto refused = [](const std::vector<VolumeFile>& files) {
        const auto storage = memory_storage();
        const auto done = write_iso9660(files, options, *storage);
        return !done && done.error().kind == ErrorKind::invalid_argument && storage->size().value() == 0;
    };
    CHECK(refused({{"", ""}}));
    CHECK(refused({{"..", ""}}));
    CHECK(refused({{"a/b", ""}}));
    CHECK(refused({{"caf\xc3\xa9", ""}}));
    CHECK(refused({{std::string(65, 'a'), ""}}));
    CHECK(refused({{"a", ""}, {"a", ""}}));
    CHECK_FALSE(refused({{std::string(64, 'a'), ""}}));
}

TEST_CASE("volume ids and times that do not fit are refused") {
    const auto storage = memory_storage();
    CHECK_FALSE(write_iso9660(seed_files, {"", 0}, *storage));
    CHECK_FALSE(write_iso9660(seed_files, {"seventeen-letters", 0}, *storage));
    CHECK_FALSE(write_iso9660(seed_files, {"cidata", -1}, *storage));
    CHECK(write_iso9660(seed_files, {"cidata", 0}, *storage));
}
