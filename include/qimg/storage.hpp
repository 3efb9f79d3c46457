// Storage: a growable array of bytes at host offsets. A file, a buffer in memory, later a ring or a socket.
//
// The one seam between the library and the outside: image formats and the seed writers read and write
// through it, and tests put faulty, recording or in-memory storages behind the same interface.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "qimg/error.hpp"
#include "qimg/units.hpp"

namespace qimg {

// A run of host bytes that is either backed by space (data) or known to read as zeroes (a hole).
struct StorageExtent {
    std::uint64_t length = 0;  // > 0 inside the storage
    bool data = true;
};

// Tells whether two storages are the same file, whatever names they were opened by.
struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;

    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// A moment: since the Epoch.
struct FileTime {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0;

    friend bool operator==(const FileTime&, const FileTime&) = default;
};

class Storage {
  public:
    virtual ~Storage() = default;
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    // The name for messages: the path as the caller gave it.
    virtual const std::string& name() const = 0;
    virtual Result<std::uint64_t> size() const = 0;
    // Fills `into`; bytes past the end read as zeroes. Safe to call from several threads.
    virtual Result<void> read(HostOffset at, std::span<std::byte> into) const = 0;
    // Writes all of `from`, growing the storage when needed. Safe from several threads on disjoint ranges.
    virtual Result<void> write(HostOffset at, std::span<const std::byte> from) = 0;
    // Makes the range read as zeroes, growing the storage when needed; space stays or becomes allocated only
    // as far as that is free of cost.
    virtual Result<void> write_zeroes(HostRange range) = 0;
    // Gives the space of the range back where the storage can; its content is unspecified afterwards (old
    // bytes or zeroes). Never changes the size, never fails for lack of support.
    virtual Result<void> discard(HostRange range) = 0;
    // Allocates space for the range without changing what it reads as, growing the storage when needed.
    virtual Result<void> allocate(HostRange range) = 0;
    // Cuts or extends with zeroes.
    virtual Result<void> resize(std::uint64_t bytes) = 0;
    // Everything written before is on stable storage when this returns.
    virtual Result<void> flush() = 0;
    // Lets the system begin with what was written in the range, so that flush() finds less to do. No barrier:
    // nothing is promised about what arrives, or in which order. Safe from several threads.
    virtual void start_writeback(HostRange range) { static_cast<void>(range); }
    // The run that starts at `at`; past the end: a hole of length 0.
    virtual Result<StorageExtent> extent(HostOffset at) const = 0;
    // Bytes of disk space in use (what `du` counts).
    virtual Result<std::uint64_t> allocated_bytes() const = 0;
    // Empty where that cannot be told, or where reading the same bytes again may give others.
    virtual std::optional<FileIdentity> identity() const { return std::nullopt; }
    // When it was written to last; empty where that cannot be told.
    virtual std::optional<FileTime> modified() const { return std::nullopt; }
    // Of the open file, for what the system does between two files; it stays the storage's. Empty where there is
    // no file, or where each read and write has to be seen.
    virtual std::optional<int> descriptor() const { return std::nullopt; }
    // Lets `range` of the open file `source` be here, too, at `at`, without a copy. False where the file system
    // cannot do that; all but the last block of a file must be whole. Callers use share_blocks().
    virtual Result<bool> share_from(int source, HostRange range, HostOffset at) {
        static_cast<void>(source), static_cast<void>(range), static_cast<void>(at);
        return false;
    }

  protected:
    Storage() = default;
};

enum class Access { read_only, read_write };

// How an opened file is shared with other processes through QEMU's lock bytes.
enum class Locking {
    qemu,   // refuse while another process uses the image in a conflicting way, and be seen by others
    share,  // take no lock and look at none (`-U`, and backing files that someone else already guards)
};

struct FileOptions {
    Access access = Access::read_only;
    Locking locking = Locking::qemu;
};

// Opens an existing regular file or block device. Errors: not_found, read_only, in_use, io; a directory,
// FIFO or terminal is invalid_argument.
Result<std::unique_ptr<Storage>> open_file(const std::string& path, const FileOptions& options);

// A file being written: it has no visible name until commit(), so that an interruption leaves nothing
// behind, and readers of an older file under that name never see half of the new one.
class NewFile : public Storage {
  public:
    // Flushes, then puts the file under its final name, replacing an older file there in one step.
    virtual Result<void> commit() = 0;
};

// Begins a new file that will be called `path`. When `path` is a block device it is written in place and
// commit() only flushes. Errors: in_use when an older file there is locked by another process.
Result<std::unique_ptr<NewFile>> create_file(const std::string& path);

// From now on SIGINT, SIGTERM and SIGHUP, as far as they are not ignored, also remove what new files there are
// with a name of their own: on file systems that have no files without one. For programs that handle no signals.
void remove_unfinished_on_signals();

// A view of a storage that must outlive it, for what wants to own one.
std::unique_ptr<Storage> borrow_storage(Storage& owner);

// Lets `to` have the bytes of `range` at `at` by sharing the blocks that they lie in: nothing is copied, whatever
// the length. False, and nothing has happened, where that cannot be: other file systems than XFS and btrfs, two of
// them, offsets inside a block. An empty range asks whether it can be at all. Safe from several threads on
// disjoint ranges. Errors: of writing.
Result<bool> share_blocks(const Storage& from, HostRange range, Storage& to, HostOffset at);

// Writes zeroes byte for byte, so that the range has space of its own (preallocation=full).
Result<void> write_plain_zeroes(Storage& storage, HostRange range);

// A storage in memory, for tests and for building small images before they are written: at most 256 MiB, then
// no_space.
std::unique_ptr<Storage> memory_storage(std::string name = "memory");

}  // namespace qimg
