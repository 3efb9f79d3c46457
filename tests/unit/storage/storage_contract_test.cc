// One suite over every Storage: what the contract in qimg/storage.hpp promises.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "base/bytes.hpp"
#include "qimg/storage.hpp"
#include "storage/faults.hpp"

using namespace qimg;

namespace {

struct Folder {
    Folder() {
        std::string pattern = std::filesystem::temp_directory_path() / "qimg-storage-XXXXXX";
        path = ::mkdtemp(pattern.data());
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

Bytes filled(std::size_t count, int value) {
    return Bytes(count, std::byte(value));
}

Bytes read_back(const Storage& storage, std::uint64_t at, std::size_t count) {
    Bytes out(count, std::byte{0xee});
    REQUIRE(storage.read(HostOffset(at), out));
    return out;
}

// Whether blocks can be shared is the file system's; that nothing else happens is ours.
void check_sharing(Storage& storage) {
    REQUIRE(storage.write(HostOffset(4096), filled(8192, 0x5a)));
    const auto memory = memory_storage();
    CHECK_FALSE(share_blocks(storage, HostRange(), *memory, HostOffset(0)).value());
    CHECK_FALSE(share_blocks(*memory, HostRange(), storage, HostOffset(0)).value());
    const Folder folder;
    const auto other = create_file(folder.path / "other").value();
    const bool can_share = share_blocks(storage, HostRange(), *other, HostOffset(0)).value();
    CHECK(other->size().value() == 0);
    const bool is_shared =
        share_blocks(storage, HostRange(HostOffset(4096), 8192), *other, HostOffset(12288)).value();
    CHECK(is_shared == can_share);
    CHECK(other->size().value() == (is_shared ? 20480 : 0));
    if (is_shared) CHECK(read_back(*other, 12288, 8192) == filled(8192, 0x5a));
    // no file system shares parts of blocks
    CHECK_FALSE(share_blocks(storage, HostRange(HostOffset(4097), 512), *other, HostOffset(512)).value());
    REQUIRE(storage.resize(4096));
}

void check_contract(Storage& storage) {
    REQUIRE(storage.size().value() == 0);
    CHECK(is_zero(read_back(storage, 0, 100)));

    REQUIRE(storage.write(HostOffset(1000), filled(500, 0xab)));
    CHECK(storage.size().value() == 1500);
    CHECK(is_zero(read_back(storage, 0, 1000)));
    CHECK(read_back(storage, 1000, 500) == filled(500, 0xab));
    CHECK(is_zero(read_back(storage, 1500, 10)));

    REQUIRE(storage.write_zeroes(HostRange(HostOffset(1400), 600)));
    CHECK(storage.size().value() == 2000);
    CHECK(read_back(storage, 1000, 400) == filled(400, 0xab));
    CHECK(is_zero(read_back(storage, 1400, 600)));

    REQUIRE(storage.discard(HostRange(HostOffset(0), 100000)));
    CHECK(storage.size().value() == 2000);

    REQUIRE(storage.resize(100));
    REQUIRE(storage.resize(2000));
    CHECK(is_zero(read_back(storage, 100, 1900)));
    REQUIRE(storage.allocate(HostRange(HostOffset(4000), 96)));
    CHECK(storage.size().value() == 4096);
    CHECK(storage.extent(HostOffset(4096)).value().length == 0);
    CHECK(storage.extent(HostOffset(0)).value().length > 0);
    REQUIRE(storage.flush());

    // nothing but time: neither content nor size
    REQUIRE(storage.write(HostOffset(1000), filled(500, 0xcd)));
    storage.start_writeback(HostRange(HostOffset(0), 1200));
    storage.start_writeback(HostRange(HostOffset(1200), 100000));
    storage.start_writeback(HostRange(HostOffset(1ull << 63), 100));
    storage.start_writeback(HostRange());
    CHECK(storage.size().value() == 4096);
    CHECK(read_back(storage, 1000, 500) == filled(500, 0xcd));

    check_sharing(storage);
}

}  // namespace

TEST_CASE("memory keeps the storage contract") {
    const auto storage = memory_storage();
    check_contract(*storage);
}

TEST_CASE("memory does not grow to an offset that only a file could have") {
    const auto storage = memory_storage();
    const std::byte one{1};
    CHECK(storage->write(HostOffset(1ull << 55), std::span(&one, 1)).error().kind == ErrorKind::no_space);
    CHECK(storage->write_zeroes(HostRange(HostOffset(~0ull), 2)).error().kind == ErrorKind::no_space);
    CHECK(storage->resize(1ull << 40).error().kind == ErrorKind::no_space);
    CHECK(storage->size().value() == 0);
}

TEST_CASE("a new file keeps the storage contract and appears only when committed") {
    const Folder folder;
    const std::string path = folder.path / "new";
    {
        auto file = create_file(path).value();
        check_contract(*file);
        CHECK_FALSE(std::filesystem::exists(path));
        REQUIRE(file->commit());
        CHECK(std::filesystem::file_size(path) == 4096);
    }
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}

TEST_CASE("a new file that is not committed leaves nothing and keeps the old one") {
    const Folder folder;
    const std::string path = folder.path / "file";
    {
        auto file = create_file(path).value();
        REQUIRE(file->write(HostOffset(0), filled(10, 1)));
        REQUIRE(file->commit());
    }
    REQUIRE(::chmod(path.c_str(), 0600) == 0);
    {
        auto file = create_file(path).value();
        REQUIRE(file->write(HostOffset(0), filled(20, 2)));
    }
    CHECK(std::filesystem::file_size(path) == 10);
    {
        auto file = create_file(path).value();
        REQUIRE(file->write(HostOffset(0), filled(20, 2)));
        REQUIRE(file->commit());
    }
    CHECK(std::filesystem::file_size(path) == 20);
    CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::all) ==
          (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}

TEST_CASE("an opened file keeps the storage contract") {
    const Folder folder;
    const std::string path = folder.path / "file";
    REQUIRE(create_file(path).value()->commit());
    auto file = open_file(path, {.access = Access::read_write}).value();
    check_contract(*file);
}

TEST_CASE("where calls are to fail, none may pass by: there is no descriptor") {
    const Folder folder;
    const std::string path = folder.path / "file";
    REQUIRE(create_file(path).value()->commit());
    auto file = open_file(path, {.access = Access::read_write}).value();
    CHECK(file->descriptor().has_value());
    CHECK(borrow_storage(*file)->descriptor() == file->descriptor());
    Fault fault;
    fault.operation = Fault::Operation::flush;
    CHECK_FALSE(faulty_storage(std::move(file), {fault})->descriptor().has_value());
}

TEST_CASE("two readers share an image, a writer is alone") {
    const Folder folder;
    const std::string path = folder.path / "file";
    REQUIRE(create_file(path).value()->commit());
    auto reader = open_file(path, {}).value();
    CHECK(open_file(path, {}));
    const auto refused = open_file(path, {.access = Access::read_write});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::in_use);
    CHECK(refused.error().message ==
          "Failed to get \"write\" lock\nIs another process using the image [" + path + "]?");
    CHECK(open_file(path, {.access = Access::read_write, .locking = Locking::share}));
    reader.reset();
    auto writer = open_file(path, {.access = Access::read_write}).value();
    const auto shared = open_file(path, {});
    REQUIRE_FALSE(shared);
    CHECK(shared.error().message.starts_with("Failed to get shared \"write\" lock"));
    CHECK(create_file(path).error().kind == ErrorKind::in_use);
}

TEST_CASE("a folder, a missing file and a FIFO are refused") {
    const Folder folder;
    CHECK(open_file(folder.path, {}).error().kind == ErrorKind::invalid_argument);
    CHECK(open_file(folder.path / "none", {}).error().kind == ErrorKind::not_found);
    const std::string fifo = folder.path / "fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(open_file(fifo, {}).error().kind == ErrorKind::invalid_argument);
    CHECK(create_file(folder.path).error().kind == ErrorKind::invalid_argument);
}
