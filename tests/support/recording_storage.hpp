// A storage in memory that logs what is done to it, and can be stopped by a fault.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "qimg/storage.hpp"

namespace qimg::test {

struct LoggedCall {
    enum class Kind { write, resize, flush };
    Kind kind = Kind::flush;
    HostOffset at;
    Bytes data;               // of a write
    std::uint64_t bytes = 0;  // of a resize
};

inline void apply_call(Bytes& file, const LoggedCall& call) {
    if (call.kind == LoggedCall::Kind::resize) file.resize(call.bytes);
    if (call.kind != LoggedCall::Kind::write) return;
    if (file.size() < call.at.bytes + call.data.size()) file.resize(call.at.bytes + call.data.size());
    std::copy(call.data.begin(), call.data.end(), file.begin() + static_cast<std::ptrdiff_t>(call.at.bytes));
}

class RecordingStorage final : public Storage {
  public:
    explicit RecordingStorage(Bytes content = {}) : content_(std::move(content)) {}

    const Bytes& content() const { return content_; }
    const std::vector<LoggedCall>& log() const { return log_; }
    // The changing call with this number (from 0) fails, and all after it.
    void fail_from(std::uint64_t call, ErrorKind kind) { fault_ = Fault{call, kind}; }
    std::uint64_t changing_calls() const { return calls_; }

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
        return inside.empty() ? Result<void>() : write_zeroes(inside);
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
    struct Fault {
        std::uint64_t call;
        ErrorKind kind;
    };

    Result<void> change(LoggedCall call) {
        if (fault_ && calls_ >= fault_->call) return fail(fault_->kind, "the test's fault");
        ++calls_;
        apply_call(content_, call);
        log_.push_back(std::move(call));
        return {};
    }

    std::string name_ = "recorded";
    Bytes content_;
    std::vector<LoggedCall> log_;
    std::optional<Fault> fault_;
    std::uint64_t calls_ = 0;
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
    for (std::size_t i = flushed; i < calls; ++i) {
        const LoggedCall& call = log[i];
        if (call.kind == LoggedCall::Kind::resize && random() % 16 < keep_in_16) apply_call(file, call);
        if (call.kind != LoggedCall::Kind::write) continue;
        for (std::size_t at = 0; at < call.data.size();) {
            // up to the next sector of the file
            const std::size_t step =
                std::min<std::size_t>(512 - (call.at.bytes + at) % 512, call.data.size() - at);
            if (random() % 16 < keep_in_16) {
                const auto part = std::span(call.data).subspan(at, step);
                apply_call(file, {LoggedCall::Kind::write, call.at + at, Bytes(part.begin(), part.end()), 0});
            }
            at += step;
        }
    }
    return file;
}

}  // namespace qimg::test
