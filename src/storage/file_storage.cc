// A storage on a regular file or block device, by positioned system calls.
// SPDX-License-Identifier: Apache-2.0
#include "storage/file_storage.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "storage/qemu_locks.hpp"

namespace qimg {

namespace {

// What one range of a file may be: offsets are off_t for the kernel.
Result<void> check_range(const std::string& name, std::uint64_t start, std::uint64_t length) {
    constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
    if (start > limit || length > limit - start) {
        return failf(ErrorKind::no_space, "{}: range at {:#x} is past the largest file offset",
                     printable(name), start);
    }
    return {};
}

off_t as_off(std::uint64_t value) {
    return static_cast<off_t>(value);
}

bool is_unsupported(int error_number) {
    return error_number == EOPNOTSUPP || error_number == ENOSYS || error_number == EINVAL ||
           error_number == ENODEV || error_number == ENOTTY;
}

int fallocate_retrying(int descriptor, int mode, HostRange range) {
    int status;
    do {
        status = ::fallocate(descriptor, mode, as_off(range.start.bytes), as_off(range.length));
    } while (status != 0 && errno == EINTR);
    return status == 0 ? 0 : errno;
}

}  // namespace

template <class Base>
Result<std::uint64_t> FileStorage<Base>::size() const {
    // lseek, not fstat: it also answers for block devices
    const off_t end = ::lseek(fd_.get(), 0, SEEK_END);
    if (end < 0) return fail_errno(errno, name_, "cannot tell the size");
    return static_cast<std::uint64_t>(end);
}

template <class Base>
Result<void> FileStorage<Base>::read(HostOffset at, std::span<std::byte> into) const {
    TRY(check_range(name_, at.bytes, into.size()));
    while (!into.empty()) {
        const ssize_t n = ::pread(fd_.get(), into.data(), into.size(), as_off(at.bytes));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(errno, name_, fmt::format("read at {:#x}", at.bytes));
        if (n == 0) {
            std::fill(into.begin(), into.end(), std::byte{0});
            return {};
        }
        into = into.subspan(static_cast<std::size_t>(n));
        at += static_cast<std::uint64_t>(n);
    }
    return {};
}

template <class Base>
Result<void> FileStorage<Base>::write(HostOffset at, std::span<const std::byte> from) {
    TRY(check_range(name_, at.bytes, from.size()));
    changed_ = true;
    while (!from.empty()) {
        const ssize_t n = ::pwrite(fd_.get(), from.data(), from.size(), as_off(at.bytes));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(errno, name_, fmt::format("write at {:#x}", at.bytes));
        from = from.subspan(static_cast<std::size_t>(n));
        at += static_cast<std::uint64_t>(n);
    }
    return {};
}

template <class Base>
Result<void> FileStorage<Base>::write_zeroes(HostRange range) {
    if (range.empty()) return {};
    TRY(check_range(name_, range.start.bytes, range.length));
    const std::uint64_t end = TRY(size());
    if (range.end().bytes > end) {
        // past the end, extending the file is enough
        TRY(resize(range.end().bytes));
        range = intersection(range, HostRange(HostOffset(0), end));
        if (range.empty()) return {};
    }
    changed_ = true;
    const int punched = fallocate_retrying(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range);
    if (punched == 0) return {};
    if (!is_unsupported(punched)) return fail_errno(punched, name_, "write zeroes");
    return write_plain_zeroes(*this, range);
}

template <class Base>
Result<void> FileStorage<Base>::discard(HostRange range) {
    const std::uint64_t end = TRY(size());
    range = intersection(range, HostRange(HostOffset(0), end));
    if (range.empty()) return {};
    changed_ = true;
    const int error_number = fallocate_retrying(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range);
    if (error_number != 0 && !is_unsupported(error_number)) return fail_errno(error_number, name_, "discard");
    return {};
}

template <class Base>
Result<void> FileStorage<Base>::allocate(HostRange range) {
    if (range.empty()) return {};
    TRY(check_range(name_, range.start.bytes, range.length));
    changed_ = true;
    int error_number = fallocate_retrying(fd_.get(), 0, range);
    if (is_unsupported(error_number)) {
        error_number = ::posix_fallocate(fd_.get(), as_off(range.start.bytes), as_off(range.length));
    }
    if (error_number != 0) return fail_errno(error_number, name_, "allocate space");
    return {};
}

template <class Base>
Result<void> FileStorage<Base>::resize(std::uint64_t bytes) {
    TRY(check_range(name_, bytes, 0));
    changed_ = true;
    int status;
    do {
        status = ::ftruncate(fd_.get(), as_off(bytes));
    } while (status != 0 && errno == EINTR);
    if (status == 0) return {};
    // a block device cannot change its size, and need not when it is large enough
    const int error_number = errno;
    const std::uint64_t end = TRY(size());
    if (error_number == EINVAL && end >= bytes) return {};
    return fail_errno(error_number, name_, fmt::format("resize to {} bytes", bytes));
}

template <class Base>
Result<void> FileStorage<Base>::flush() {
    // whoever finds nothing to do must not return before another thread's flush is through
    const std::lock_guard lock(flushing_);
    if (!changed_.exchange(false)) return {};
    if (::fdatasync(fd_.get()) == 0) return {};
    const int error_number = errno;
    changed_ = true;
    return fail_errno(error_number, name_, "flush");
}

// What goes wrong here is told by the next flush.
template <class Base>
void FileStorage<Base>::start_writeback(HostRange range) {
    if (range.empty() || !check_range(name_, range.start.bytes, range.length)) return;
    ::sync_file_range(fd_.get(), as_off(range.start.bytes), as_off(range.length), SYNC_FILE_RANGE_WRITE);
}

template <class Base>
Result<StorageExtent> FileStorage<Base>::extent(HostOffset at) const {
    const std::uint64_t end = TRY(size());
    if (at.bytes >= end) return StorageExtent{0, false};
    const off_t data = ::lseek(fd_.get(), as_off(at.bytes), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return StorageExtent{end - at.bytes, false};
    // where the file system cannot tell, everything is data
    if (data < 0) return StorageExtent{end - at.bytes, true};
    const auto data_start = static_cast<std::uint64_t>(data);
    if (data_start > at.bytes) return StorageExtent{data_start - at.bytes, false};
    const off_t hole = ::lseek(fd_.get(), as_off(at.bytes), SEEK_HOLE);
    const std::uint64_t data_end = hole < 0 ? end : static_cast<std::uint64_t>(hole);
    // another process may have punched a hole between the two calls
    if (data_end <= at.bytes) return StorageExtent{end - at.bytes, true};
    return StorageExtent{data_end - at.bytes, true};
}

template <class Base>
Result<std::uint64_t> FileStorage<Base>::allocated_bytes() const {
    struct stat status;
    if (::fstat(fd_.get(), &status) != 0) return fail_errno(errno, name_, "cannot tell the allocated size");
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

template <class Base>
std::optional<FileIdentity> FileStorage<Base>::identity() const {
    struct stat status;
    if (::fstat(fd_.get(), &status) != 0) return std::nullopt;
    return FileIdentity{status.st_dev, status.st_ino};
}

template <class Base>
std::optional<FileTime> FileStorage<Base>::modified() const {
    struct stat status;
    if (::fstat(fd_.get(), &status) != 0) return std::nullopt;
    return FileTime{status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec)};
}

template <class Base>
Result<bool> FileStorage<Base>::share_from(int source, HostRange range, HostOffset at) {
    file_clone_range request{};
    request.src_fd = source;
    request.src_offset = range.start.bytes;
    request.src_length = range.length;
    request.dest_offset = at.bytes;
    changed_ = true;
    int status;
    do {
        status = ::ioctl(fd_.get(), FICLONERANGE, &request);
    } while (status != 0 && errno == EINTR);
    if (status == 0) return true;
    const int error_number = errno;
    // EXDEV: two file systems; EPERM, EBADF, ETXTBSY: files of a kind, or in a use, that sharing is not for
    const bool is_refused = is_unsupported(error_number) || error_number == EXDEV || error_number == EPERM ||
                            error_number == EBADF || error_number == ETXTBSY || error_number == EISDIR;
    if (is_refused) return false;
    return fail_errno(error_number, name_, fmt::format("write at {:#x}", at.bytes));
}

template class FileStorage<Storage>;
template class FileStorage<NewFile>;

Result<bool> share_blocks(const Storage& from, HostRange range, Storage& to, HostOffset at) {
    const auto source = from.descriptor();
    if (!source) return false;
    // for the kernel, a length of 0 goes up to the end of the file: from there, that is nothing
    if (range.empty()) {
        const std::uint64_t end = TRY(from.size());
        return to.share_from(*source, HostRange(HostOffset(end), 0), HostOffset(0));
    }
    return to.share_from(*source, range, at);
}

Result<void> write_plain_zeroes(Storage& storage, HostRange range) {
    const Bytes zeroes(std::min<std::uint64_t>(range.length, MiB));
    while (!range.empty()) {
        const std::size_t step = std::min<std::uint64_t>(range.length, zeroes.size());
        TRY(storage.write(range.start, std::span(zeroes).first(step)));
        range = HostRange::between(range.start + step, range.end());
    }
    return {};
}

Result<std::unique_ptr<Storage>> open_file(const std::string& path, const FileOptions& options) {
    const int mode = options.access == Access::read_write ? O_RDWR : O_RDONLY;
    // O_NONBLOCK so that a FIFO cannot make the open wait; it has no effect on files and devices
    Fd fd(::open(path.c_str(), mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!fd) {
        const int error_number = errno;
        return fail(error_kind(error_number),
                    fmt::format("Could not open '{}': {}", printable(path), errno_text(error_number)),
                    error_number);
    }
    struct stat status;
    if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, path, "stat");
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
        return failf(ErrorKind::invalid_argument, "'file' driver requires '{}' to be a regular file",
                     printable(path));
    }
    if (options.locking == Locking::qemu) TRY(lock_as_qemu(fd.get(), options.access, path));
    return std::make_unique<FileStorage<Storage>>(std::move(fd), path);
}

}  // namespace qimg
