// FAT volumes, read back with a reader of this test's own, straight from the FAT specification.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <map>
#include <vector>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "qimg/fat.hpp"

using namespace qimg;

namespace {

std::uint32_t get(std::string_view image, std::size_t at, std::size_t bytes) {
    std::uint32_t value = 0;
    for (std::size_t i = bytes; i-- > 0;)
        value = value << 8 | static_cast<unsigned char>(image[at + i]);
    return value;
}

struct Volume {
    std::string image;
    std::string label;
    std::map<std::string, std::string> files;  // by long name
    bool fat12 = false;
};

std::uint32_t next_cluster(const Volume& volume, std::size_t fat, std::uint32_t cluster) {
    if (!volume.fat12) return get(volume.image, fat + cluster * 2, 2);
    const std::uint32_t pair = get(volume.image, fat + cluster + cluster / 2, 2);
    return cluster % 2 == 0 ? pair & 0xfff : pair >> 4;
}

std::string long_name_piece(std::string_view entry) {
    std::string piece;
    for (std::size_t at : {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}) {
        const std::uint32_t c = get(entry, at, 2);
        if (c == 0) break;
        piece += static_cast<char>(c);
    }
    return piece;
}

Volume read_back(const std::vector<VolumeFile>& written, const FatOptions& options) {
    const auto storage = memory_storage();
    REQUIRE(write_fat(written, options, *storage));
    Volume volume;
    volume.image.resize(storage->size().value());
    REQUIRE(storage->read(HostOffset(0), std::as_writable_bytes(std::span(volume.image))));
    const std::string& image = volume.image;
    const std::size_t sector = get(image, 11, 2);
    CHECK(sector == 2048);
    const std::size_t cluster_bytes = get(image, 13, 1) * sector;
    const std::size_t fat = get(image, 14, 2) * sector;
    const std::size_t fat_bytes = get(image, 22, 2) * sector;
    const std::size_t root = fat + get(image, 16, 1) * fat_bytes;
    const std::size_t data = root + get(image, 17, 2) * 32;
    const std::size_t sectors = get(image, 19, 2) != 0 ? get(image, 19, 2) : get(image, 32, 4);
    REQUIRE(sectors * sector == image.size());
    const std::size_t clusters = (image.size() - data) / cluster_bytes;
    volume.fat12 = clusters < 4085;
    REQUIRE(fat_bytes * 8 >= (clusters + 2) * (volume.fat12 ? 12 : 16));
    CHECK(image.compare(fat, fat_bytes, image, fat + fat_bytes, fat_bytes) == 0);
    std::string name;
    for (std::size_t at = root; at < data && image[at] != 0; at += 32) {
        const std::string_view entry = std::string_view(image).substr(at, 32);
        const std::uint32_t attributes = get(entry, 11, 1);
        if (attributes == 0x0f) {
            name.insert(0, long_name_piece(entry));
        } else if (attributes == 0x08) {
            volume.label = entry.substr(0, 11);
        } else {
            std::string contents;
            std::uint32_t cluster = get(entry, 26, 2);
            while (cluster >= 2 && cluster < (volume.fat12 ? 0xff8U : 0xfff8U)) {
                contents += image.substr(data + (cluster - 2) * cluster_bytes, cluster_bytes);
                cluster = next_cluster(volume, fat, cluster);
            }
            REQUIRE(contents.size() >= get(entry, 28, 4));
            volume.files[name] = contents.substr(0, get(entry, 28, 4));
            name.clear();
        }
    }
    return volume;
}

const FatOptions options{"cidata", 0x12345678, 1'577'836'800};

void check_files(const Volume& volume, const std::vector<VolumeFile>& written) {
    CHECK(volume.files.size() == written.size());
    for (const VolumeFile& file : written) {
        const auto found = volume.files.find(file.name);
        REQUIRE(found != volume.files.end());
        CHECK((found->second == file.contents));
    }
}

}  // namespace

TEST_CASE("a small volume is FAT12 of one MiB with label and serial, in sectors of a CD-ROM") {
    const std::vector<VolumeFile> files{
        {"user-data", "#cloud-config\n"}, {"meta-data", ""}, {"network-config", std::string(5000, 'n')}};
    const Volume volume = read_back(files, options);
    CHECK(volume.fat12);
    CHECK(volume.image.size() == MiB);
    CHECK(volume.label == "CIDATA     ");
    CHECK(volume.image.substr(43, 11) == "CIDATA     ");
    CHECK(volume.image.substr(54, 8) == "FAT12   ");
    CHECK(get(volume.image, 39, 4) == 0x12345678);
    CHECK(volume.image.substr(510, 2) == "\x55\xaa");
    check_files(volume, files);
}

TEST_CASE("large files make a FAT16 volume") {
    std::string large(9 * MiB, '\0');
    for (std::size_t i = 0; i < large.size(); ++i)
        large[i] = static_cast<char>(i * 7 + i / 251);
    const std::vector<VolumeFile> files{{"a", large}, {"b", "small"}, {"c", large.substr(17)}};
    const Volume volume = read_back(files, options);
    CHECK_FALSE(volume.fat12);
    CHECK(volume.image.substr(54, 8) == "FAT16   ");
    check_files(volume, files);
}

TEST_CASE("sizes around the change from FAT12 to FAT16 hold their files") {
    for (std::size_t mib = 6; mib <= 9; ++mib) {
        const std::vector<VolumeFile> files{{"x", std::string(mib * MiB - 40 * KiB, 'x')}};
        check_files(read_back(files, options), files);
    }
}

TEST_CASE("long names of every length survive") {
    std::vector<VolumeFile> files;
    for (std::size_t length = 1; length < 60; length += 3)
        files.push_back({std::string(length, 'n'), std::to_string(length)});
    files.push_back({std::string(255, 'z'), "longest"});
    check_files(read_back(files, options), files);
}

TEST_CASE("the same files give the same bytes") {
    const std::vector<VolumeFile> files{{"user-data", "a"}, {"user-date", "b"}};
    CHECK(read_back(files, options).image == read_back(files, options).image);
}

TEST_CASE("a time before 1980 counts as 1980") {
    const Volume volume = read_back({{"a", "b"}}, {"cidata", 0, 0});
    const std::size_t root = (1 + 2 * get(volume.image, 22, 2)) * 2048;
    CHECK(get(volume.image, root + 24, 2) == (1U << 5 | 1U));
}

TEST_CASE("names and labels that FAT cannot hold are refused") {
    const auto refused = [](const std::vector<VolumeFile>& files, const std::string& label) {
        const auto storage = memory_storage();
        const auto done = write_fat(files, {label, 0, 0}, *storage);
        return !done && done.error().kind == ErrorKind::invalid_argument;
    };
    CHECK(refused({{"a:b", ""}}, "cidata"));
    CHECK(refused({{"a.", ""}}, "cidata"));
    CHECK(refused({{"Name", ""}, {"nAME", ""}}, "cidata"));
    CHECK(refused({{std::string(256, 'a'), ""}}, "cidata"));
    CHECK(refused({}, ""));
    CHECK(refused({}, "twelve-chars"));
    CHECK(refused({}, "a b"));
    CHECK_FALSE(refused({}, "cidata"));
}
