// A log: a header, then records, each with its data behind it, old and new. The header has the records' checksum, so a
// log is whole or none.
// SPDX-License-Identifier: Apache-2.0
#include "storage/redo_log.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <tuple>

#include "base/checked.hpp"
#include "base/digest.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg {

namespace {

struct LogHeader {
    std::array<char, 16> magic;
    std::array<char, 8> format;  // zeroes behind it
    le64 inode;
    le64 old_bytes;
    le64 new_bytes;
    le64 records;
    le64 records_bytes;
    le64 checksum;      // CRC-64 of the records, data included
    le64 own_checksum;  // of all that stands before it
};
static_assert(sizeof(LogHeader) == 80);

constexpr std::string_view magic("qimg redo log\0\0\1", 16);

struct LogRecord {
    le64 at;
    le64 bytes;
    le64
        data_bytes;  // behind this record, of what was there and then of what is to be: `bytes`, or 0 for zeroes
};
static_assert(sizeof(LogRecord) == 24);

constexpr std::uint64_t records_at = 4096;
constexpr std::uint64_t buffer_bytes = MiB;

std::uint64_t own_checksum(const LogHeader& header) {
    return crc64(std::as_bytes(std::span(&header, 1)).first(offsetof(LogHeader, own_checksum)));
}

std::unexpected<Error> not_whole(const Storage& log) {
    return failf(ErrorKind::corrupt, "{}: not a whole log of changes", printable(log.name()));
}

Result<LogHeader> read_header(const Storage& log) {
    std::array<std::byte, sizeof(LogHeader)> raw;
    TRY(log.read(HostOffset(0), raw));
    const auto header = load<LogHeader>(raw);
    const bool is_ours = std::string_view(header.magic.data(), header.magic.size()) == magic &&
                         own_checksum(header) == header.own_checksum;
    if (!is_ours) return not_whole(log);
    return header;
}

// The records' bytes from start to end, in pieces.
Result<void> check_records(const Storage& log, const LogHeader& header) {
    const std::uint64_t log_bytes = TRY(log.size());
    if (!fits_within(records_at, header.records_bytes, log_bytes)) return not_whole(log);
    std::uint64_t checksum = 0;
    Bytes buffer(std::min<std::uint64_t>(buffer_bytes, header.records_bytes));
    for (std::uint64_t done = 0; done < header.records_bytes; done += buffer.size()) {
        buffer.resize(std::min<std::uint64_t>(buffer.size(), header.records_bytes - done));
        TRY(log.read(HostOffset(records_at + done), buffer));
        checksum = crc64(buffer, checksum);
    }
    if (checksum != header.checksum) return not_whole(log);
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

// A record, and where the log has its data.
struct Place {
    HostRange range;
    bool is_data = false;
    HostOffset old_data;
    HostOffset new_data;
};

Result<void> for_each(const Storage& log, const LogHeader& header,
                      const std::function<Result<void>(const Place&)>& visit) {
    std::uint64_t at = records_at;
    const std::uint64_t end = records_at + header.records_bytes;
    for (std::uint64_t i = 0; i < header.records; ++i) {
        std::array<std::byte, sizeof(LogRecord)> raw;
        TRY(log.read(HostOffset(at), raw));
        const auto record = load<LogRecord>(raw);
        at += sizeof(LogRecord);
        const std::uint64_t bytes = record.data_bytes;
        const bool fits = at <= end && bytes <= (end - at) / 2 &&
                          fits_within(record.at, record.bytes, header.new_bytes) &&
                          (bytes == 0 || bytes == record.bytes);
        if (!fits) return not_whole(log);
        TRY(visit({HostRange(HostOffset(record.at), record.bytes), bytes != 0, HostOffset(at),
                   HostOffset(at + bytes)}));
        at += 2 * bytes;
    }
    return {};
}

// Calls `visit` for the parts of a record's range that lie in one step of the file, and that are as long.
Result<void> in_steps(HostRange range, std::uint64_t step_bytes,
                      const std::function<Result<void>(HostRange)>& visit) {
    while (!range.empty()) {
        const std::uint64_t to_step = step_bytes - range.start.bytes % step_bytes;
        const HostRange part(range.start, std::min(range.length, to_step));
        TRY(visit(part));
        range = HostRange::between(part.end(), range.end());
    }
    return {};
}

std::unexpected<Error> was_used(const Storage& log, const Storage& file) {
    Error error{ErrorKind::unsafe, {}, 0, {}, {}};
    error.message = fmt::format(
        "'{}' was written to after changes of it were interrupted; those that are left in "
        "'{}' would destroy what it holds now",
        printable(file.name()), printable(log.name()));
    error.hint = "remove the log to keep the disk as it is";
    return std::unexpected<Error>(std::move(error));
}

// Each sector is as it was, or as it is to be.
Result<void> check_unused(const Storage& log, const Storage& file, const Place& place) {
    Bytes now;
    Bytes old;
    Bytes wanted;
    return in_steps(place.range, buffer_bytes, [&](HostRange part) -> Result<void> {
        const std::uint64_t skip = part.start - place.range.start;
        for (auto [buffer, from, at] : {std::tuple{&now, &file, part.start},
                                        {&old, &log, place.old_data + skip},
                                        {&wanted, &log, place.new_data + skip}}) {
            buffer->resize(part.length);
            TRY(from->read(at, *buffer));
        }
        return in_steps(part, sector_bytes, [&](HostRange sector) -> Result<void> {
            const auto is_like = [&](const Bytes& other) {
                const std::uint64_t at = sector.start - part.start;
                return std::ranges::equal(std::span(now).subspan(at, sector.length),
                                          std::span(other).subspan(at, sector.length));
            };
            return is_like(old) || is_like(wanted) ? Result<void>() : was_used(log, file);
        });
    });
}

Result<void> apply(const Storage& log, Storage& file, const Place& place) {
    if (!place.is_data) return file.write_zeroes(place.range);
    Bytes buffer;
    return in_steps(place.range, buffer_bytes, [&](HostRange part) -> Result<void> {
        buffer.resize(part.length);
        TRY(log.read(place.new_data + (part.start - place.range.start), buffer));
        return file.write(part.start, buffer);
    });
}

}  // namespace

std::string redo_log_name(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> target(::realpath(path.c_str(), nullptr), &std::free);
    return (target ? std::string(target.get()) : path) + ".qimg-expand";
}

RedoLogWriter::RedoLogWriter(Storage& log, const RedoTarget& target)
    : log_(log), target_(target), written_(records_at) {}

Result<void> RedoLogWriter::write_buffer() {
    checksum_ = crc64(buffer_, checksum_);
    TRY(log_.write(HostOffset(written_), buffer_));
    written_ += buffer_.size();
    buffer_.clear();
    return {};
}

Result<void> RedoLogWriter::append(std::span<const std::byte> bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return buffer_.size() < buffer_bytes ? Result<void>() : write_buffer();
}

Result<void> RedoLogWriter::add(HostOffset at, std::span<const std::byte> old,
                                std::span<const std::byte> data) {
    const LogRecord record{at.bytes, data.size(), data.size()};
    ++records_;
    TRY(append(std::as_bytes(std::span(&record, 1))));
    TRY(append(old));
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
    std::ranges::copy_n(target_.format.begin(), std::ssize(target_.format), header.format.begin());
    header.inode = target_.inode;
    header.old_bytes = target_.old_bytes;
    header.new_bytes = target_.new_bytes;
    header.records = records_;
    header.records_bytes = written_ - records_at;
    header.checksum = checksum_;
    header.own_checksum = own_checksum(header);
    Bytes raw(records_at);
    store(std::span(raw), header);
    return log_.write(HostOffset(0), raw);
}

Result<RedoTarget> read_redo_target(const Storage& log) {
    const LogHeader header = TRY(read_header(log));
    const std::string_view format(header.format.data(), header.format.size());
    return RedoTarget{header.inode, header.old_bytes, header.new_bytes,
                      std::string(format.substr(0, format.find('\0')))};
}

Result<void> apply_redo_log(const Storage& log, Storage& file) {
    const LogHeader header = TRY(read_header(log));
    TRY(check_records(log, header));
    TRY(check_target(header, log, file));
    TRY(for_each(log, header, [&](const Place& place) {
        return place.is_data ? check_unused(log, file, place) : Result<void>();
    }));
    const std::uint64_t file_bytes = TRY(file.size());
    if (file_bytes != header.new_bytes) TRY(file.resize(header.new_bytes));
    TRY(for_each(log, header, [&](const Place& place) { return apply(log, file, place); }));
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
