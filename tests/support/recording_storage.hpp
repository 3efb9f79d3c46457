// A storage in memory that logs what is done to it, and what a crash leaves of that.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "qimg/storage.hpp"

namespace qimg::test {

struct LoggedCall {
    enum class Kind { write, discard, resize, flush };
    Kind kind = Kind::flush;
    HostOffset at;
    Bytes data;               // of a write
    std::uint64_t bytes = 0;  // of a discard; of a resize: the new size
};

// Does to the file what the call did, sector by sector of the file as far as `keeps` says so; a change of size
// is done whole or not.
template <class Keeps>
void apply_sectors(Bytes& file, const LoggedCall& call, Keeps keeps) {
    if (call.kind == LoggedCall::Kind::flush) return;
    if (call.kind == LoggedCall::Kind::resize) {
        if (keeps()) file.resize(call.bytes);
        return;
    }
    const bool writes = call.kind == LoggedCall::Kind::write;
    const std::uint64_t end = call.at.bytes + (writes ? call.data.size() : call.bytes);
    for (std::uint64_t at = call.at.bytes; at < end;) {
        const std::uint64_t next = std::min(end, round_down(at, sector_bytes) + sector_bytes);
        if (keeps()) {
            if (writes && file.size() < next) file.resize(next);
            const auto to = file.begin() + static_cast<std::ptrdiff_t>(at);
            const auto from = static_cast<std::ptrdiff_t>(at - call.at.bytes);
            const auto length = static_cast<std::ptrdiff_t>(next - at);
            if (writes) {
                std::copy_n(call.data.begin() + from, length, to);
            } else if (next <= file.size()) {
                std::fill_n(to, length, std::byte{0});
            }
        }
        at = next;
    }
}

inline void apply_call(Bytes& file, const LoggedCall& call) {
    apply_sectors(file, call, [] { return true; });
}

class RecordingStorage final : public Storage {
  public:
    explicit RecordingStorage(Bytes content = {}) : content_(std::move(content)) {}

    const Bytes& content() const { return content_; }
    const std::vector<LoggedCall>& log() const { return log_; }
    const std::string& name() const override { return name_; }
    Result<std::uint64_t> size() const override { return content_.size(); }

    Result<void> read(HostOffset at, std::span<std::byte> into) const override {
        std::fill(into.begin(), into.end(), std::byte{0});
        if (at.bytes >= content_.size()) return {};
        const std::size_t held = std::min<std::size_t>(into.size(), content_.size() - at.bytes);
        std::copy_n(content_.begin() + static_cast<std::ptrdiff_t>(at.bytes), held, into.begin());
        return {};
    }

    Result<void> write(HostOffset at, std::span<const std::byte> from) override {
        return change({LoggedCall::Kind::write, at, Bytes(from.begin(), from.end()), 0});
    }
    Result<void> write_zeroes(HostRange range) override { return write(range.start, Bytes(range.length)); }
    // what was discarded may read as anything; zeroes are what a file system makes of it
    Result<void> discard(HostRange range) override {
        const HostRange inside = intersection(range, HostRange(HostOffset(0), content_.size()));
        return inside.empty() ? Result<void>()
                              : change({LoggedCall::Kind::discard, inside.start, {}, inside.length});
    }
    Result<void> allocate(HostRange range) override {
        return range.end().bytes > content_.size() ? resize(range.end().bytes) : Result<void>();
    }
    Result<void> resize(std::uint64_t bytes) override {
        return change({LoggedCall::Kind::resize, {}, {}, bytes});
    }
    Result<void> flush() override { return change({LoggedCall::Kind::flush, {}, {}, 0}); }
    Result<StorageExtent> extent(HostOffset at) const override {
        return StorageExtent{at.bytes < content_.size() ? content_.size() - at.bytes : 0, true};
    }
    Result<std::uint64_t> allocated_bytes() const override { return content_.size(); }

  private:
    Result<void> change(LoggedCall call) {
        apply_call(content_, call);
        log_.push_back(std::move(call));
        return {};
    }

    std::string name_ = "recorded";
    Bytes content_;
    std::vector<LoggedCall> log_;
};

// What a file may hold after a crash behind `calls` calls: everything up to the last flush, and of the writes
// since then any 512-byte sectors, in any combination.
inline Bytes crashed(Bytes file, const std::vector<LoggedCall>& log, std::size_t calls,
                     std::mt19937_64& random) {
    std::size_t flushed = calls;
    while (flushed > 0 && log[flushed - 1].kind != LoggedCall::Kind::flush)
        --flushed;
    for (std::size_t i = 0; i < flushed; ++i)
        apply_call(file, log[i]);
    const std::uint64_t keep_in_16 = random() % 17;
    for (std::size_t i = flushed; i < calls; ++i)
        apply_sectors(file, log[i], [&] { return random() % 16 < keep_in_16; });
    return file;
}

}  // namespace qimg::test
