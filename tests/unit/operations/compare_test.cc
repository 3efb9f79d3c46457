// What a comparison finds, which offset it tells, and what it does not read, on images in memory.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/compare.hpp"

#include <doctest/doctest.h>

#include "base/bytes.hpp"
#include "format/raw/raw.hpp"

using namespace qimg;

namespace {

// Says that it is the file `inode`, and counts the bytes that are read from it.
class CountedStorage final : public Storage {
  public:
    CountedStorage(Storage& owner, std::uint64_t inode, std::uint64_t& bytes_read)
        : owner_(owner), inode_(inode), bytes_read_(bytes_read) {}

    const std::string& name() const override { return owner_.name(); }
    Result<std::uint64_t> size() const override { return owner_.size(); }
    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        bytes_read_ += into.size();
        return owner_.read(at, into);
    }
    Result<void> write(HostOffset, std::span<const std::byte>) override { return refuse(); }
    Result<void> write_zeroes(HostRange) override { return refuse(); }
    Result<void> discard(HostRange) override { return refuse(); }
    Result<void> allocate(HostRange) override { return refuse(); }
    Result<void> resize(std::uint64_t) override { return refuse(); }
    Result<void> flush() override { return refuse(); }
    Result<StorageExtent> extent(HostOffset at) const override { return owner_.extent(at); }
    Result<std::uint64_t> allocated_bytes() const override { return owner_.allocated_bytes(); }
    std::optional<FileIdentity> identity() const override { return FileIdentity{1, inode_}; }

  private:
    static Result<void> refuse() { return fail(ErrorKind::read_only, "a comparison writes nothing"); }

    Storage& owner_;
    std::uint64_t inode_;
    std::uint64_t& bytes_read_;
};

struct Disk {
    explicit Disk(std::uint64_t size) { REQUIRE(file->resize(size)); }
    void put(std::uint64_t at, const Bytes& bytes) { REQUIRE(file->write(HostOffset(at), bytes)); }
    Image image(std::uint64_t inode) {
        auto storage = std::make_unique<CountedStorage>(*file, inode, bytes_read);
        return Image("disk", raw::open(std::move(storage)).value(), nullptr);
    }

    std::unique_ptr<Storage> file = memory_storage();
    std::uint64_t bytes_read = 0;
};

CompareReport compared(const Image& a, const Image& b, bool strict = false) {
    CompareOptions options;
    options.strict = strict;
    options.threads = 1;
    return compare(a, b, options).value();
}

}  // namespace

TEST_CASE("the first difference is told, by its sector") {
    Disk a(20 * MiB);
    Disk b(20 * MiB);
    a.put(0, Bytes(20 * MiB, std::byte{7}));
    b.put(0, Bytes(20 * MiB, std::byte{7}));
    CHECK(compared(a.image(1), b.image(2)).verdict == CompareVerdict::identical);
    b.put(19 * MiB, Bytes(1, std::byte{8}));
    b.put(5 * MiB + 1000, Bytes(1, std::byte{8}));
    for (const unsigned threads : {1u, 4u}) {
        CompareOptions options;
        options.threads = threads;
        const auto report = compare(a.image(1), b.image(2), options).value();
        CHECK(report.verdict == CompareVerdict::content_differs);
        CHECK(report.offset == 5 * MiB + 512);
    }
}

TEST_CASE("what lies in the same place of the same file is not read") {
    Disk a(4 * MiB);
    a.put(0, Bytes(4 * MiB, std::byte{7}));
    CHECK(compared(a.image(1), a.image(1)).verdict == CompareVerdict::identical);
    CHECK(a.bytes_read == 0);
    CHECK(compared(a.image(1), a.image(2)).verdict == CompareVerdict::identical);
    CHECK(a.bytes_read == 8 * MiB);
}

TEST_CASE("a longer disk is the same when it goes on with zeroes") {
    Disk a(MiB);
    Disk b(3 * MiB);
    int told = 0;
    CompareOptions options;
    options.on_size_mismatch = [&] { ++told; };
    CHECK(compare(a.image(1), b.image(2), options).value().verdict == CompareVerdict::identical);
    CHECK(told == 1);
    CHECK(compared(a.image(1), b.image(2), true).verdict == CompareVerdict::sizes_differ);
    b.put(2 * MiB, Bytes(1, std::byte{1}));
    const auto report = compare(b.image(2), a.image(1), options).value();
    CHECK(report.offset == 2 * MiB);
    CHECK(told == 2);
    // a difference before the shorter one's end comes first
    b.put(0, Bytes(1, std::byte{1}));
    CHECK(compare(b.image(2), a.image(1), options).value().offset == 0);
    CHECK(told == 2);
}
