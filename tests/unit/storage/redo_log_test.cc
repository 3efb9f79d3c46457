// Logs of changes: whole or not, for this file or another, and applied again after a crash.
// SPDX-License-Identifier: Apache-2.0
#include "storage/redo_log.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include "support/crash_states.hpp"
#include "support/temporary_folder.hpp"

using namespace qimg;

namespace {

constexpr std::uint64_t inode = 4711;

// A file in memory that has an inode.
class NumberedFile final : public Storage {
  public:
    explicit NumberedFile(Storage& file, std::uint64_t number = inode) : file_(file), number_(number) {}

    const std::string& name() const override { return file_.name(); }
    Result<std::uint64_t> size() const override { return file_.size(); }
    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        return file_.read(at, into);
    }
    Result<void> write(HostOffset at, std::span<const std::byte> from) override {
        return file_.write(at, from);
    }
    Result<void> write_zeroes(HostRange range) override { return file_.write_zeroes(range); }
    Result<void> discard(HostRange range) override { return file_.discard(range); }
    Result<void> allocate(HostRange range) override { return file_.allocate(range); }
    Result<void> resize(std::uint64_t bytes) override { return file_.resize(bytes); }
    Result<void> flush() override { return file_.flush(); }
    Result<StorageExtent> extent(HostOffset at) const override { return file_.extent(at); }
    Result<std::uint64_t> allocated_bytes() const override { return file_.allocated_bytes(); }
    std::optional<FileIdentity> identity() const override { return FileIdentity{1, number_}; }

  private:
    Storage& file_;
    std::uint64_t number_;
};

constexpr std::uint64_t old_bytes = 20'000;
constexpr std::uint64_t new_bytes = 3 * MiB;

std::unique_ptr<Storage> make_log() {
    auto log = memory_storage("log");
    RedoLogWriter writer(*log, {inode, old_bytes, new_bytes});
    REQUIRE(writer.add(HostOffset(100), Bytes(9'000, std::byte{9}), Bytes(9'000, std::byte{1})));
    REQUIRE(writer.add_zeroes(HostRange(HostOffset(9'500), 8'000)));
    REQUIRE(writer.add(HostOffset(MiB - 5), Bytes(MiB + 900), Bytes(MiB + 900, std::byte{2})));
    REQUIRE(writer.finish());
    return log;
}

Bytes before() {
    return Bytes(old_bytes, std::byte{9});
}

Bytes after() {
    Bytes content = before();
    content.resize(new_bytes);
    std::fill_n(content.begin() + 100, 9'000, std::byte{1});
    std::fill_n(content.begin() + 9'500, 8'000, std::byte{0});
    std::fill_n(content.begin() + MiB - 5, MiB + 900, std::byte{2});
    return content;
}

}  // namespace

TEST_CASE("a log that is cut short or changed brings nothing") {
    const auto whole = make_log();
    Bytes bytes(whole->size().value());
    REQUIRE(whole->read(HostOffset(0), bytes));
    for (std::size_t at :
         {std::size_t{0}, std::size_t{20}, std::size_t{50}, std::size_t{4096}, bytes.size() - 1}) {
        Bytes broken = bytes;
        broken[at] ^= std::byte{1};
        test::RecordingStorage log(broken);
        test::RecordingStorage file(before());
        NumberedFile numbered(file);
        CHECK(apply_redo_log(log, numbered).error().kind == ErrorKind::corrupt);
        CHECK(file.content() == before());
    }
    bytes.pop_back();
    test::RecordingStorage log(bytes);
    test::RecordingStorage file(before());
    NumberedFile numbered(file);
    CHECK(apply_redo_log(log, numbered).error().kind == ErrorKind::corrupt);
}

TEST_CASE("a log is for one file, as it was or as it is to be") {
    const auto log = make_log();
    test::RecordingStorage file(before());
    NumberedFile other(file, inode + 1);
    CHECK(apply_redo_log(*log, other).error().kind == ErrorKind::unsafe);
    REQUIRE(file.resize(old_bytes + 1));
    NumberedFile longer(file);
    CHECK(apply_redo_log(*log, longer).error().kind == ErrorKind::unsafe);
}

TEST_CASE("a file that somebody has used since is left as it is") {
    const auto log = make_log();
    for (const std::uint64_t at : {std::uint64_t{100}, std::uint64_t{9'099}}) {
        Bytes used = before();
        used[at] = std::byte{5};
        test::RecordingStorage file(used);
        NumberedFile numbered(file);
        CHECK(apply_redo_log(*log, numbered).error().kind == ErrorKind::unsafe);
        CHECK(file.content() == used);
    }
    Bytes elsewhere = before();
    elsewhere[0] = elsewhere[9'100] = std::byte{5};
    test::RecordingStorage file(elsewhere);
    NumberedFile numbered(file);
    CHECK(apply_redo_log(*log, numbered));
}

TEST_CASE("whatever arrived before a crash, the log brings the rest") {
    const auto log = make_log();
    test::RecordingStorage file(before());
    NumberedFile numbered(file);
    REQUIRE(apply_redo_log(*log, numbered));
    CHECK(file.content() == after());
    std::vector<test::FolderCall> calls;
    for (const test::LoggedCall& call : file.log())
        calls.push_back({"file", call});
    REQUIRE(calls.back().call.kind == test::LoggedCall::Kind::flush);
    std::mt19937_64 random(1);
    using Kind = test::Survivors::Kind;
    for (test::CrashStates states({{"file", before()}}, calls);; states.advance()) {
        for (const Kind kind : {Kind::all, Kind::torn, Kind::calls, Kind::sectors}) {
            test::RecordingStorage left(states.state({kind, 0}, random)["file"]);
            const std::uint64_t bytes = left.size().value();
            // a file system makes a file longer at once
            if (bytes != old_bytes) REQUIRE(left.resize(new_bytes));
            NumberedFile again(left);
            REQUIRE(apply_redo_log(*log, again));
            CHECK(left.content() == after());
        }
        if (states.at_end()) break;
    }
}

TEST_CASE("a log counts for the file that it is for, by whatever name") {
    const test::TemporaryFolder folder;
    const std::string path = folder / "disk";
    const std::string link = folder / "link";
    folder.write("disk", "disk");
    folder.write("other", "other");
    REQUIRE(::symlink("disk", link.c_str()) == 0);
    const auto file = open_file(path, {Access::read_write, Locking::share}).value();
    CHECK_FALSE(has_redo_log(path, *file));
    CHECK(redo_log_name(link) == redo_log_name(path));
    {
        const auto log = create_file(redo_log_name(path)).value();
        RedoLogWriter writer(*log, {file->identity()->inode, 4, 8});
        REQUIRE(writer.finish());
        REQUIRE(log->commit());
    }
    CHECK(has_redo_log(path, *file));
    CHECK(has_redo_log(link, *file));
    const auto other = open_file(folder / "other", {Access::read_write, Locking::share}).value();
    CHECK_FALSE(has_redo_log(path, *other));
}
