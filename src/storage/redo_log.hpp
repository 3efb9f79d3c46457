// Changes of a file that is written in place, kept beside it until all of them have arrived: whoever finds such a log
// can bring them there again. Knows nothing of what the changes mean.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg {

// What a log is for.
struct RedoTarget {
    std::uint64_t inode = 0;      // of the file
    std::uint64_t old_bytes = 0;  // the length before the changes, of the file or of the disk that is in it
    std::uint64_t new_bytes = 0;  // and afterwards: not shorter
    std::string format = "raw";   // how offsets are meant: of the file itself, or of a disk in that format
};

// Where the log of the file `path` is: beside the file itself, also when that is a link.
std::string redo_log_name(const std::string& path);

// Writes a log into an empty storage; it counts once finish() is done and the storage durable.
class RedoLogWriter {
  public:
    RedoLogWriter(Storage& log, const RedoTarget& target);

    // In any order, without overlaps. `old` is what is there now, as long as `data`.
    Result<void> add(HostOffset at, std::span<const std::byte> old, std::span<const std::byte> data);
    Result<void> add_zeroes(HostRange range);
    Result<void> finish();

  private:
    Result<void> append(std::span<const std::byte> bytes);
    Result<void> write_buffer();

    Storage& log_;
    RedoTarget target_;
    std::uint64_t checksum_ = 0;
    Bytes buffer_;
    std::uint64_t written_;
    std::uint64_t records_ = 0;
};

// Errors: corrupt for what is no log, or not a whole one.
Result<RedoTarget> read_redo_target(const Storage& log);

// Brings all changes to `file` (or the disk in it: all that has its inode), and makes them durable. Reads the log before
// it writes the first one. Errors: corrupt for a log that is not whole; unsafe when it is for another file, when the file has another length than before or
// after the changes, or when where data is to arrive some sector is neither as it was nor as it is to be: somebody has
// used the file since. Those of reading and writing: what is missing arrives when this is done again.
Result<void> apply_redo_log(const Storage& log, Storage& file);

// True when there is a log beside the file `path`, which is open as `file`, and it is for that file: then the changes
// have to be finished before anything else is done to it.
bool has_redo_log(const std::string& path, const Storage& file);

}  // namespace qimg
