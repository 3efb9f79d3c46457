// What killed processes left behind goes with the next file of that name, and nothing else does.
// SPDX-License-Identifier: Apache-2.0
#include "storage/unfinished_files.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "qimg/storage.hpp"

using namespace qimg;
namespace fs = std::filesystem;

namespace {

class Folder {
  public:
    Folder() {
        std::string name = (fs::temp_directory_path() / "unfinished.XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~Folder() { fs::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::string operator/(const std::string& name) const { return path_ / name; }
    std::string make(const std::string& name) const {
        std::ofstream(path_ / name) << "something";
        return path_ / name;
    }

  private:
    fs::path path_;
};

pid_t ended_process() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    REQUIRE(child > 0);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return child;
}

std::string leftover_of(pid_t process, const std::string& target = "disk") {
    return fmt::format(".{}.{}.0.qimg-unfinished", target, process);
}

}  // namespace

TEST_CASE("what an ended process left of a file goes, what a living one has stays") {
    const Folder folder;
    const std::string gone = folder.make(leftover_of(ended_process()));
    const std::string ours = folder.make(leftover_of(::getpid()));
    remove_leftovers(folder / "disk");
    CHECK_FALSE(fs::exists(gone));
    CHECK(fs::exists(ours));
}

TEST_CASE("a leftover that somebody has locked stays") {
    const Folder folder;
    const std::string held = folder.make(leftover_of(ended_process()));
    const auto holder = open_file(held, {Access::read_write, Locking::qemu});
    REQUIRE(holder);
    remove_leftovers(folder / "disk");
    CHECK(fs::exists(held));
}

TEST_CASE("files of other names stay") {
    const Folder folder;
    const pid_t gone = ended_process();
    for (const std::string& name :
         {leftover_of(gone, "other"), fmt::format("disk.{}.0.qimg-unfinished", gone),
          fmt::format(".disk.{}.qimg-unfinished", gone), fmt::format(".disk.{}.0.new", gone),
          std::string(".disk.x.0.qimg-unfinished"), std::string(".disk..qimg-unfinished"),
          std::string(".disk.qimg-unfinished")}) {
        CAPTURE(name);
        const std::string path = folder.make(name);
        remove_leftovers(folder / "disk");
        CHECK(fs::exists(path));
    }
    // nor is the target of a link removed
    fs::create_symlink(folder.make("precious"), folder / leftover_of(gone));
    remove_leftovers(folder / "disk");
    CHECK(fs::exists(folder / "precious"));
}

TEST_CASE("a name in the making goes with its object, unless it is forgotten") {
    const Folder folder;
    std::string path;
    {
        const UnfinishedName name(folder / "disk", 3);
        path = name.path();
        std::ofstream(path) << "half";
    }
    CHECK_FALSE(fs::exists(path));
    {
        UnfinishedName name(folder / "disk", 3);
        std::ofstream(path) << "whole";
        name.forget();
    }
    CHECK(fs::exists(path));
}
