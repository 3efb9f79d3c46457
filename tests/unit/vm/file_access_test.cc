// The permission rules for QEMU's user.
// SPDX-License-Identifier: Apache-2.0
#include "vm/file_access.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace qimg;
using namespace qimg::vm;

namespace {

const FileUser qemu{.uid = 64055, .groups = {107, 108}, .name = "libvirt-qemu (uid 64055)"};

// A folder /tmp/…/closed/base.img; the way to it is open to everybody.
struct Tree {
    std::filesystem::path root;
    Tree() {
        std::string pattern = std::filesystem::temp_directory_path() / "access.XXXXXX";
        root = ::mkdtemp(pattern.data());
        ::chmod(root.c_str(), 0755);
        std::filesystem::create_directory(root / "closed");
        std::ofstream(root / "closed" / "base.img") << "x";
        ::chmod((root / "closed" / "base.img").c_str(), 0644);
    }
    ~Tree() {
        ::chmod((root / "closed").c_str(), 0755);
        std::filesystem::remove_all(root);
    }
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;
};

}  // namespace

TEST_CASE("the owner's bits count for the owner, even where others may more") {
    CHECK(mode_allows(qemu, FileNeed::read, 64055, 0, S_IFREG | 0400));
    CHECK_FALSE(mode_allows(qemu, FileNeed::read, 64055, 0, S_IFREG | 0044));
}

TEST_CASE("the group's bits count for every group of the user") {
    CHECK(mode_allows(qemu, FileNeed::read, 0, 108, S_IFREG | 0040));
    CHECK_FALSE(mode_allows(qemu, FileNeed::read, 0, 108, S_IFREG | 0004));
    CHECK_FALSE(mode_allows(qemu, FileNeed::read, 0, 109, S_IFREG | 0040));
}

TEST_CASE("writing needs reading, searching needs its own bit") {
    CHECK_FALSE(mode_allows(qemu, FileNeed::write, 0, 0, S_IFREG | 0002));
    CHECK(mode_allows(qemu, FileNeed::write, 0, 0, S_IFREG | 0006));
    CHECK_FALSE(mode_allows(qemu, FileNeed::search, 0, 0, S_IFDIR | 0004));
    CHECK(mode_allows(qemu, FileNeed::search, 0, 0, S_IFDIR | 0001));
}

TEST_CASE("root may everything") {
    const FileUser root{.uid = 0, .groups = {0}, .name = "root"};
    CHECK(mode_allows(root, FileNeed::write, 1, 1, S_IFREG));
    CHECK(mode_allows(root, FileNeed::search, 1, 1, S_IFDIR));
}

TEST_CASE("a folder that bars the way is named, with the command that opens it") {
    const Tree tree;
    const std::string path = tree.root / "closed" / "base.img";
    CHECK(check_access(path, FileNeed::read, qemu));
    ::chmod((tree.root / "closed").c_str(), 0700);
    const auto refused = check_access(path, FileNeed::read, qemu);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::read_only);
    const std::string command = "setfacl -m u:libvirt-qemu:x " + (tree.root / "closed").string();
    CHECK(refused.error().message.find(command) != std::string::npos);
}

TEST_CASE("a file that may not be read is named") {
    const Tree tree;
    const std::string path = tree.root / "closed" / "base.img";
    ::chmod(path.c_str(), 0600);
    const auto refused = check_access(path, FileNeed::read, qemu);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("the file " + path + " may not be read") != std::string::npos);
}

TEST_CASE("the way behind a symbolic link counts, too") {
    const Tree tree;
    const std::string link = tree.root / "link.img";
    std::filesystem::create_symlink(tree.root / "closed" / "base.img", link);
    CHECK(check_access(link, FileNeed::read, qemu));
    ::chmod((tree.root / "closed").c_str(), 0700);
    CHECK_FALSE(check_access(link, FileNeed::read, qemu));
}
