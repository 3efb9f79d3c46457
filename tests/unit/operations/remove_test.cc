// What is removed, and what is not.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/remove.hpp"

#include <doctest/doctest.h>

#include "qimg/operations/create.hpp"
#include "storage/redo_log.hpp"
#include "support/temporary_folder.hpp"

using namespace qimg;
using namespace qimg::test;
namespace fs = std::filesystem;

namespace {

void make(const std::string& path, std::optional<std::string> data_file = {}) {
    CreateOptions options;
    options.path = path;
    options.format = "qcow2";
    options.size = MiB;
    options.qcow2.data_file = std::move(data_file);
    REQUIRE(create(options));
}

}  // namespace

TEST_CASE("an image in use is not removed, be it read or written") {
    const TemporaryFolder folder;
    make(folder / "disk");
    for (const Access access : {Access::read_only, Access::read_write}) {
        const auto user = open_file(folder / "disk", {access, Locking::qemu});
        REQUIRE(user);
        const auto refused = remove_image({.path = folder / "disk"});
        REQUIRE_FALSE(refused);
        CHECK(refused.error().kind == ErrorKind::in_use);
        CHECK(fs::exists(folder / "disk"));
    }
    CHECK(remove_image({.path = folder / "disk"}));
    CHECK_FALSE(fs::exists(folder / "disk"));
}

TEST_CASE("a broken image can be removed") {
    const TemporaryFolder folder;
    folder.write("broken", "QFI\xfb");
    CHECK(remove_image({.path = folder / "broken"}));
    CHECK_FALSE(fs::exists(folder / "broken"));
}

TEST_CASE("a data file goes only when that is wanted, and only when nobody uses it") {
    const TemporaryFolder folder;
    make(folder / "disk", "data");
    CHECK_FALSE(remove_image({.path = folder / "disk"})->data_file);
    CHECK(fs::exists(folder / "data"));
    fs::remove(folder / "data");

    make(folder / "disk", "data");
    RemoveOptions both{.path = folder / "disk", .data_file = true};
    {
        const auto user = open_file(folder / "data", {Access::read_only, Locking::qemu});
        CHECK_FALSE(remove_image(both));
        CHECK(fs::exists(folder / "disk"));
    }
    CHECK(remove_image(both)->data_file == folder / "data");
    CHECK_FALSE(fs::exists(folder / "disk"));
    CHECK_FALSE(fs::exists(folder / "data"));
}

TEST_CASE("of a link, what it leads to stays") {
    const TemporaryFolder folder;
    make(folder / "disk");
    fs::create_symlink("disk", folder / "link");
    CHECK(remove_image({.path = folder / "link"}));
    CHECK(fs::exists(folder / "disk"));
    CHECK_FALSE(fs::is_symlink(folder / "link"));
}

TEST_CASE("folders and names without a file are refused") {
    const TemporaryFolder folder;
    CHECK_FALSE(remove_image({.path = folder / ""}));
    CHECK(remove_image({.path = folder / "none"}).error().kind == ErrorKind::not_found);
}

TEST_CASE("the log of an unfinished change goes with its image, and only that") {
    const TemporaryFolder folder;
    for (const bool is_its_own : {true, false}) {
        CAPTURE(is_its_own);
        folder.write("disk", "content");
        const auto disk = open_file(folder / "disk", {Access::read_only, Locking::share});
        const std::uint64_t inode = (*disk)->identity()->inode + (is_its_own ? 0 : 1);
        const std::string log = redo_log_name(folder / "disk");
        auto file = create_file(log);
        REQUIRE(RedoLogWriter(**file, {inode, 7, 7}).finish());
        REQUIRE((*file)->commit());
        file->reset();
        CHECK(remove_image({.path = folder / "disk"}));
        CHECK(fs::exists(log) == !is_its_own);
    }
}
