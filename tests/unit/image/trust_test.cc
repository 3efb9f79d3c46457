// Which names in headers are followed, and which images stand on a file.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/trust.hpp"

#include <doctest/doctest.h>

#include "qimg/operations/create.hpp"
#include "qimg/operations/dependants.hpp"
#include "support/temporary_folder.hpp"

using namespace qimg;

namespace {

void make_overlay(const std::string& path, const std::string& backing, const std::string& format) {
    CreateOptions options;
    options.path = path;
    options.format = "qcow2";
    options.size = MiB;
    options.qcow2.backing_file = backing;
    options.qcow2.backing_format = format;
    options.check_backing = false;
    REQUIRE(create(options));
}

void make_image(const std::string& path) {
    CreateOptions options;
    options.path = path;
    options.format = "qcow2";
    options.size = MiB;
    REQUIRE(create(options));
}

// Opens the chain; every risk is refused with this.
Result<std::unique_ptr<Image>> open_cautiously(const std::string& path) {
    CautiousOpener opener(
        [](const std::string&, const std::string& risk) { return fail(ErrorKind::unsafe, risk); });
    return Image::open(path, {}, opener);
}

}  // namespace

TEST_CASE("a raw backing file is followed in the folder of the overlay and below it") {
    const test::TemporaryFolder folder;
    folder.write("base.raw", "base");
    folder.write("below/base.raw", "base");
    make_overlay(folder / "near.qcow2", "base.raw", "raw");
    make_overlay(folder / "below.qcow2", "below/base.raw", "raw");
    CHECK(open_cautiously(folder / "near.qcow2"));
    CHECK(open_cautiously(folder / "below.qcow2"));
}

TEST_CASE("a file elsewhere is followed only when it is an image by its first bytes") {
    const test::TemporaryFolder folder;
    folder.write("secret/key", "a key");
    folder.write("images/note", "");
    make_image(folder / "secret/base.qcow2");
    make_overlay(folder / "images/sly.qcow2", "../secret/key", "raw");
    make_overlay(folder / "images/good.qcow2", folder / "secret/base.qcow2", "qcow2");
    const auto refused = open_cautiously(folder / "images/sly.qcow2");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::unsafe);
    CHECK(refused.error().message.find("secret/key") != std::string::npos);
    CHECK(open_cautiously(folder / "images/good.qcow2"));
}

TEST_CASE("a link does not lead out of the folder") {
    const test::TemporaryFolder folder;
    folder.write("secret/key", "a key");
    folder.write("images/note", "");
    std::filesystem::create_symlink("../secret/key", folder / "images/base.raw");
    make_overlay(folder / "images/sly.qcow2", "base.raw", "raw");
    CHECK_FALSE(open_cautiously(folder / "images/sly.qcow2"));
}

TEST_CASE("the file that the user names is opened wherever it is") {
    const test::TemporaryFolder folder;
    folder.write("disk.raw", "disk");
    CHECK(open_cautiously(folder / "disk.raw"));
}

TEST_CASE("a name in a header that is no file's name is not followed") {
    const test::TemporaryFolder folder;
    make_image(folder / "base.qcow2");
    make_overlay(folder / "sly.qcow2", "json:{\"driver\":\"null-co\"}", "raw");
    const auto refused = Image::open(folder / "sly.qcow2", {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::unsupported);
}

TEST_CASE("dependants are the images in the folder that name the file, in any way") {
    const test::TemporaryFolder folder;
    make_image(folder / "base.qcow2");
    make_overlay(folder / "relative.qcow2", "base.qcow2", "qcow2");
    make_overlay(folder / "absolute.qcow2", folder / "base.qcow2", "qcow2");
    make_overlay(folder / "other.qcow2", "relative.qcow2", "qcow2");
    folder.write("broken.qcow2", "QFI\xfb");
    folder.write("note.txt", "base.qcow2");
    const auto found = find_dependants({folder / "base.qcow2", ""});
    REQUIRE(found);
    CHECK(*found == std::vector<std::string>{folder / "absolute.qcow2", folder / "relative.qcow2"});
    CHECK(find_dependants({folder / "base.qcow2", folder / "absolute.qcow2"})->size() == 1);
    CHECK(find_dependants({folder / "other.qcow2", ""})->empty());
    CHECK_FALSE(find_dependants({folder / "missing", ""}));
}
