// Several files in memory whose changes are logged in one order, for changes that touch more than one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "support/recording_storage.hpp"

namespace qimg::test {

using Folder = std::map<std::string, Bytes>;

class RecordedFolder final : public Opener {
  public:
    explicit RecordedFolder(const Folder& start) : start_(start) {
        for (const auto& [name, content] : start)
            files_.emplace(name, std::make_unique<File>(name, content, *this));
    }

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions&) override {
        const auto found = files_.find(path);
        if (found == files_.end()) return fail(ErrorKind::not_found, path);
        return borrow_storage(*found->second);
    }

    // The changing call with this number (from 0), in whatever file, fails, and all after it.
    void fail_from(std::size_t call) { first_fault_ = call; }
    std::size_t changing_calls() const { return order_.size(); }

    Folder content() const {
        Folder folder;
        for (const auto& [name, file] : files_)
            folder[name] = file->content();
        return folder;
    }

    // What the files may hold after a crash behind `calls` calls; a flush is of one file.
    Folder crashed_after(std::size_t calls, std::mt19937_64& random) const {
        std::map<std::string, std::size_t> made;
        for (std::size_t i = 0; i < calls; ++i)
            ++made[order_[i]];
        Folder folder;
        for (const auto& [name, file] : files_)
            folder[name] = crashed(start_.at(name), file->log(), made[name], random);
        return folder;
    }

  private:
    class File final : public Storage {
      public:
        File(std::string name, const Bytes& content, RecordedFolder& folder)
            : name_(std::move(name)), recorded_(content), folder_(folder) {}

        const Bytes& content() const { return recorded_.content(); }
        const std::vector<LoggedCall>& log() const { return recorded_.log(); }
        const std::string& name() const override { return name_; }
        Result<std::uint64_t> size() const override { return recorded_.size(); }
        Result<void> read(HostOffset at, std::span<std::byte> into) const override {
            return recorded_.read(at, into);
        }
        Result<void> write(HostOffset at, std::span<const std::byte> from) override {
            return counted([&] { return recorded_.write(at, from); });
        }
        Result<void> write_zeroes(HostRange range) override {
            return counted([&] { return recorded_.write_zeroes(range); });
        }
        Result<void> discard(HostRange range) override {
            return counted([&] { return recorded_.discard(range); });
        }
        Result<void> allocate(HostRange range) override {
            return counted([&] { return recorded_.allocate(range); });
        }
        Result<void> resize(std::uint64_t bytes) override {
            return counted([&] { return recorded_.resize(bytes); });
        }
        Result<void> flush() override {
            return counted([&] { return recorded_.flush(); });
        }
        Result<StorageExtent> extent(HostOffset at) const override { return recorded_.extent(at); }
        Result<std::uint64_t> allocated_bytes() const override { return recorded_.allocated_bytes(); }

      private:
        template <class Call>
        Result<void> counted(Call call) {
            if (folder_.order_.size() >= folder_.first_fault_) return fail(ErrorKind::io, "the test's fault");
            const std::size_t before = recorded_.log().size();
            const Result<void> done = call();
            if (recorded_.log().size() != before) folder_.order_.push_back(name_);
            return done;
        }

        std::string name_;
        RecordingStorage recorded_;
        RecordedFolder& folder_;
    };

    Folder start_;
    std::map<std::string, std::unique_ptr<File>> files_;
    std::vector<std::string> order_;  // which file each changing call went to
    std::size_t first_fault_ = ~std::size_t{0};
};

}  // namespace qimg::test
