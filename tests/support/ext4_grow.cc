// A small program for tests: grows the ext2, ext3 or ext4 file system in a raw file to the file's length, and verifies
// it. Exit status 0: grown or nothing to grow; 1: refused, with the reason on standard error.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fd.hpp"
#include "base/try.hpp"
#include "guest/ext4/grow.hpp"
#include "guest/ext4/verify.hpp"

using namespace qimg;

namespace {

class FileVolume : public guest::Volume {
  public:
    FileVolume(int fd, std::uint64_t size) : fd_(fd), size_(size) {}
    std::uint64_t size() const override { return size_; }

    Result<void> read(std::uint64_t at, std::span<std::byte> into) const override {
        TRY(check(at, into.size()));
        while (!into.empty()) {
            const ssize_t done = pread(fd_, into.data(), into.size(), static_cast<off_t>(at));
            if (done <= 0) return fail(ErrorKind::io, "read", errno);
            at += static_cast<std::uint64_t>(done);
            into = into.subspan(static_cast<std::size_t>(done));
        }
        return {};
    }

    Result<void> write(std::uint64_t at, std::span<const std::byte> from) override {
        TRY(check(at, from.size()));
        while (!from.empty()) {
            const ssize_t done = pwrite(fd_, from.data(), from.size(), static_cast<off_t>(at));
            if (done <= 0) return fail(ErrorKind::io, "write", errno);
            at += static_cast<std::uint64_t>(done);
            from = from.subspan(static_cast<std::size_t>(done));
        }
        return {};
    }

    Result<void> write_zeroes(std::uint64_t at, std::uint64_t bytes) override {
        TRY(check(at, bytes));
        if (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                      static_cast<off_t>(bytes)) != 0)
            return fail(ErrorKind::io, "zero", errno);
        return {};
    }

  private:
    Result<void> check(std::uint64_t at, std::uint64_t bytes) const {
        if (at > size_ || bytes > size_ - at) return fail(ErrorKind::invalid_argument, "outside the volume");
        return {};
    }
    int fd_;
    std::uint64_t size_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const Fd fd(open(argv[1], O_RDWR | O_CLOEXEC));
    struct stat status {};
    if (fd.get() < 0 || fstat(fd.get(), &status) != 0) return 2;
    FileVolume volume(fd.get(), static_cast<std::uint64_t>(status.st_size));
    const auto growth = guest::ext4::grow(volume, no_progress());
    if (!growth) {
        fmt::print(stderr, "{}\n", growth.error().message);
        return 1;
    }
    fmt::print("{} {}\n", growth->old_bytes, growth->new_bytes);
    if (growth->new_bytes == growth->old_bytes) return 0;
    if (const auto verdict = guest::ext4::verify(volume, *growth); !verdict) {
        fmt::print(stderr, "not verified: {}\n", verdict.error().message);
        return 3;
    }
    return 0;
}
