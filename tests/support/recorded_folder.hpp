// Several files in memory whose changes are logged in one order, and whose calls fail when they are told to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "support/recording_storage.hpp"

namespace qimg::test {

using Folder = std::map<std::string, Bytes>;

struct FolderCall {
    std::string file;
    LoggedCall call;
};

// One call, in whatever file, that goes wrong.
struct CallFault {
    enum class Kind {
        fails,       // nothing of it is done
        falls_short  // half of a write is done; other calls fail
    };
    std::size_t number = 0;  // from 0, among the reading or the changing calls
    bool reading = false;
    Kind kind = Kind::fails;
    ErrorKind error = ErrorKind::io;
    bool stays = false;  // all calls after it fail, too
};

class RecordedFolder final : public Opener {
  public:
    explicit RecordedFolder(const Folder& start) {
        for (const auto& [name, content] : start)
            files_.emplace(name, std::make_unique<File>(name, content, *this));
    }

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions&) override {
        const auto found = files_.find(path);
        if (found == files_.end()) return fail(ErrorKind::not_found, path);
        return borrow_storage(*found->second);
    }

    void set_fault(const CallFault& fault) { fault_ = fault; }
    std::size_t changing_calls() const { return changing_calls_; }
    std::size_t reading_calls() const { return reading_calls_; }
    const std::vector<FolderCall>& log() const { return log_; }

    Folder content() const {
        Folder folder;
        for (const auto& [name, file] : files_)
            folder[name] = file->content();
        return folder;
    }

  private:
    // Whether this call, the number-th of its sort, is to go wrong.
    bool hits(bool reading, std::size_t number) const {
        return fault_ && fault_->reading == reading &&
               (fault_->stays ? number >= fault_->number : number == fault_->number);
    }

    class File final : public Storage {
      public:
        File(std::string name, const Bytes& content, RecordedFolder& folder)
            : name_(std::move(name)), recorded_(content), folder_(folder) {}

        const Bytes& content() const { return recorded_.content(); }
        const std::string& name() const override { return name_; }
        Result<std::uint64_t> size() const override { return recorded_.size(); }
        Result<void> read(HostOffset at, std::span<std::byte> into) const override {
            if (folder_.hits(true, folder_.reading_calls_++)) return fault();
            return recorded_.read(at, into);
        }
        Result<void> write(HostOffset at, std::span<const std::byte> from) override {
            return changing([&] { return recorded_.write(at, from); },
                            [&] { return recorded_.write(at, from.first(part_of(at, from.size()))); });
        }
        Result<void> write_zeroes(HostRange range) override {
            return changing([&] { return recorded_.write_zeroes(range); },
                            [&] {
                                const std::uint64_t part = part_of(range.start, range.length);
                                return recorded_.write_zeroes(HostRange(range.start, part));
                            });
        }
        Result<void> discard(HostRange range) override {
            return changing([&] { return recorded_.discard(range); });
        }
        Result<void> allocate(HostRange range) override {
            return changing([&] { return recorded_.allocate(range); });
        }
        Result<void> resize(std::uint64_t bytes) override {
            return changing([&] { return recorded_.resize(bytes); });
        }
        Result<void> flush() override {
            return changing([&] { return recorded_.flush(); });
        }
        Result<StorageExtent> extent(HostOffset at) const override { return recorded_.extent(at); }
        Result<std::uint64_t> allocated_bytes() const override { return recorded_.allocated_bytes(); }

      private:
        std::unexpected<Error> fault() const {
            const bool is_full = folder_.fault_->error == ErrorKind::no_space;
            return fail(folder_.fault_->error, "the test's fault", is_full ? ENOSPC : EIO);
        }

        // About half, up to the end of a sector: file systems do not write less.
        static std::uint64_t part_of(HostOffset at, std::uint64_t length) {
            return std::max(at.bytes, round_down(at.bytes + length / 2, sector_bytes)) - at.bytes;
        }
        template <class Call>
        Result<void> changing(Call call) {
            return changing(call, [] { return Result<void>(); });
        }
        template <class Call, class Part>
        Result<void> changing(Call call, Part part) {
            const bool goes_wrong = folder_.hits(false, folder_.changing_calls_++);
            const std::size_t before = recorded_.log().size();
            const bool short_of_it = goes_wrong && folder_.fault_->kind == CallFault::Kind::falls_short;
            const Result<void> done = !goes_wrong ? call() : short_of_it ? part() : Result<void>();
            if (recorded_.log().size() != before) folder_.log_.push_back({name_, recorded_.log().back()});
            if (goes_wrong) return fault();
            return done;
        }

        std::string name_;
        RecordingStorage recorded_;
        RecordedFolder& folder_;
    };

    std::map<std::string, std::unique_ptr<File>> files_;
    std::vector<FolderCall> log_;
    std::optional<CallFault> fault_;
    std::size_t changing_calls_ = 0;
    mutable std::size_t reading_calls_ = 0;
};

}  // namespace qimg::test
