// Logs of changes: whole or not, for this file or another, and applied again after a crash.
// SPDX-License-Identifier: Apache-2.0
#include "storage/redo_log.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include "support/crash_states.hpp"
#include "support/numbered_file.hpp"
#include "support/temporary_folder.hpp"

using namespace qimg;

namespace {

constexpr std::uint64_t inode = test::NumberedFile::usual;

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
        test::NumberedFile numbered(file);
        CHECK(apply_redo_log(log, numbered).error().kind == ErrorKind::corrupt);
        CHECK(file.content() == before());
    }
    bytes.pop_back();
    test::RecordingStorage log(bytes);
    test::RecordingStorage file(before());
    test::NumberedFile numbered(file);
    CHECK(apply_redo_log(log, numbered).error().kind == ErrorKind::corrupt);
}

TEST_CASE("a log is for one file, as it was or as it is to be") {
    const auto log = make_log();
    test::RecordingStorage file(before());
    test::NumberedFile other(file, inode + 1);
    CHECK(apply_redo_log(*log, other).error().kind == ErrorKind::unsafe);
    REQUIRE(file.resize(old_bytes + 1));
    test::NumberedFile longer(file);
    CHECK(apply_redo_log(*log, longer).error().kind == ErrorKind::unsafe);
}

TEST_CASE("a file that somebody has used since is left as it is") {
    const auto log = make_log();
    for (const std::uint64_t at : {std::uint64_t{100}, std::uint64_t{9'099}}) {
        Bytes used = before();
        used[at] = std::byte{5};
        test::RecordingStorage file(used);
        test::NumberedFile numbered(file);
        CHECK(apply_redo_log(*log, numbered).error().kind == ErrorKind::unsafe);
        CHECK(file.content() == used);
    }
    Bytes elsewhere = before();
    elsewhere[0] = elsewhere[9'100] = std::byte{5};
    test::RecordingStorage file(elsewhere);
    test::NumberedFile numbered(file);
    CHECK(apply_redo_log(*log, numbered));
}

TEST_CASE("whatever arrived before a crash, the log brings the rest") {
    const auto log = make_log();
    test::RecordingStorage file(before());
    test::NumberedFile numbered(file);
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
            test::NumberedFile again(left);
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
