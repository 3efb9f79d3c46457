// A log: a header, then records, each with its data behind it. The header has the records' digest, so a log is whole
// or none.
// SPDX-License-Identifier: Apache-2.0
#include "storage/redo_log.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/checked.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg {

namespace {

struct LogHeader {
    std::array<char, 16> magic;
    le64 inode;
    le64 old_bytes;
    le64 new_bytes;
    le64 records;
    le64 records_bytes;
    Digest digest;      // of the records, data included
    Digest own_digest;  // of all that stands before it
};
static_assert(sizeof(LogHeader) == 120);

constexpr std::string_view magic("qimg redo log\0\0\1", 16);

struct LogRecord {
    le64 at;
    le64 bytes;
    le64 data_bytes;  // behind this record: `bytes`, or 0 for zeroes
};
static_assert(sizeof(LogRecord) == 24);

constexpr std::uint64_t records_at = 4096;
constexpr std::uint64_t buffer_bytes = MiB;

Digest own_digest(const LogHeader& header) {
    Sha256 digest;
    digest.update(std::as_bytes(std::span(&header, 1)).first(offsetof(LogHeader, own_digest)));
    return digest.finish();
}

std::unexpected<Error> not_whole(const Storage& log) {
    return failf(ErrorKind::corrupt, "{}: not a whole log of changes", printable(log.name()));
}

Result<LogHeader> read_header(const Storage& log) {
    std::array<std::byte, sizeof(LogHeader)> raw;
    TRY(log.read(HostOffset(0), raw));
    const auto header = load<LogHeader>(raw);
    const bool is_ours = std::string_view(header.magic.data(), header.magic.size()) == magic &&
                         own_digest(header) == header.own_digest;
    if (!is_ours) return not_whole(log);
    return header;
}

// The records' bytes from start to end, in pieces.
Result<void> check_digest(const Storage& log, const LogHeader& header) {
    const std::uint64_t log_bytes = TRY(log.size());
    if (!fits_within(records_at, header.records_bytes, log_bytes)) return not_whole(log);
    Sha256 digest;
    Bytes buffer(std::min<std::uint64_t>(buffer_bytes, header.records_bytes));
    for (std::uint64_t done = 0; done < header.records_bytes; done += buffer.size()) {
        buffer.resize(std::min<std::uint64_t>(buffer.size(), header.records_bytes - done));
        TRY(log.read(HostOffset(records_at + done), buffer));
        digest.update(buffer);
    }
    if (digest.finish() != header.digest) return not_whole(log);
    return {};
}

Result<void> check_target(const LogHeader& header, const Storage& log, const Storage& file) {
    const auto identity = file.identity();
    const std::uint64_t file_bytes = TRY(file.size());
    const bool is_it = identity && identity->inode == header.inode &&
                       (file_bytes == header.old_bytes || file_bytes == header.new_bytes);
    if (is_it) return {};
    Error error{ErrorKind::unsafe, {}, 0, {}, {}};
    error.message = fmt::format("'{}' holds changes of another file, or of '{}' as it was once",
                                printable(log.name()), printable(file.name()));
    error.hint = "remove it if that file is gone";
    return std::unexpected<Error>(std::move(error));
}

Result<void> apply_data(const Storage& log, HostOffset from, Storage& file, HostRange to) {
    Bytes buffer(std::min(buffer_bytes, to.length));
    for (std::uint64_t done = 0; done < to.length; done += buffer.size()) {
        buffer.resize(std::min<std::uint64_t>(buffer.size(), to.length - done));
        TRY(log.read(from + done, buffer));
        TRY(file.write(to.start + done, buffer));
    }
    return {};
}

}  // namespace

std::string redo_log_name(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> target(::realpath(path.c_str(), nullptr), &std::free);
    return (target ? std::string(target.get()) : path) + ".qimg-expand";
}

RedoLogWriter::RedoLogWriter(Storage& log, const RedoTarget& target)
    : log_(log), target_(target), written_(records_at) {}

Result<void> RedoLogWriter::write_buffer() {
    digest_.update(buffer_);
    TRY(log_.write(HostOffset(written_), buffer_));
    written_ += buffer_.size();
    buffer_.clear();
    return {};
}

Result<void> RedoLogWriter::append(std::span<const std::byte> bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return buffer_.size() < buffer_bytes ? Result<void>() : write_buffer();
}

Result<void> RedoLogWriter::add(HostOffset at, std::span<const std::byte> data) {
    const LogRecord record{at.bytes, data.size(), data.size()};
    ++records_;
    TRY(append(std::as_bytes(std::span(&record, 1))));
    return append(data);
}

Result<void> RedoLogWriter::add_zeroes(HostRange range) {
    const LogRecord record{range.start.bytes, range.length, 0};
    ++records_;
    return append(std::as_bytes(std::span(&record, 1)));
}

Result<void> RedoLogWriter::finish() {
    TRY(write_buffer());
    LogHeader header{};
    std::ranges::copy(magic, header.magic.begin());
    header.inode = target_.inode;
    header.old_bytes = target_.old_bytes;
    header.new_bytes = target_.new_bytes;
    header.records = records_;
    header.records_bytes = written_ - records_at;
    header.digest = digest_.finish();
    header.own_digest = own_digest(header);
    Bytes raw(records_at);
    store(std::span(raw), header);
    return log_.write(HostOffset(0), raw);
}

Result<RedoTarget> read_redo_target(const Storage& log) {
    const LogHeader header = TRY(read_header(log));
    return RedoTarget{header.inode, header.old_bytes, header.new_bytes};
}

Result<void> apply_redo_log(const Storage& log, Storage& file) {
    const LogHeader header = TRY(read_header(log));
    TRY(check_digest(log, header));
    TRY(check_target(header, log, file));
    const std::uint64_t file_bytes = TRY(file.size());
    if (file_bytes != header.new_bytes) TRY(file.resize(header.new_bytes));
    std::uint64_t at = records_at;
    const std::uint64_t end = records_at + header.records_bytes;
    for (std::uint64_t i = 0; i < header.records; ++i) {
        std::array<std::byte, sizeof(LogRecord)> raw;
        TRY(log.read(HostOffset(at), raw));
        const auto record = load<LogRecord>(raw);
        at += sizeof(LogRecord);
        const bool is_data = record.data_bytes != 0;
        const bool fits = at <= end && record.data_bytes <= end - at &&
                          fits_within(record.at, record.bytes, header.new_bytes) &&
                          (!is_data || record.data_bytes == record.bytes);
        if (!fits) return not_whole(log);
        const HostRange range(HostOffset(record.at), record.bytes);
        TRY(is_data ? apply_data(log, HostOffset(at), file, range) : file.write_zeroes(range));
        at += record.data_bytes;
    }
    return file.flush();
}

bool has_redo_log(const std::string& path, const Storage& file) {
    const std::string name = redo_log_name(path);
    if (::access(name.c_str(), F_OK) != 0) return false;
    const auto log = open_file(name, {Access::read_only, Locking::share});
    if (!log) return false;
    const auto target = read_redo_target(**log);
    const auto identity = file.identity();
    return target && identity && identity->inode == target->inode;
}

}  // namespace qimg
