// Images in memory that stand on each other, for tests of what commands do to them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "format/format.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/image.hpp"

namespace qimg::test {

// Opens its images by name; all are qcow2.
class MemoryChain final : public Opener {
  public:
    void add(const std::string& name, std::uint64_t bytes, const std::string& backing = "",
             Qcow2Layout layout = {}) {
        if (!backing.empty()) {
            layout.backing_file = backing;
            layout.backing_format = "qcow2";
        }
        files_[name] = std::make_unique<CountingStorage>(name);
        REQUIRE(qcow2::create_empty(*files_[name], layout, bytes));
    }
    void remove(const std::string& name) { files_.erase(name); }
    std::uint64_t file_bytes(const std::string& name) const { return files_.at(name)->size().value(); }

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions&) override {
        const auto found = files_.find(path);
        if (found == files_.end()) return fail(ErrorKind::not_found, path);
        return borrow_storage(*found->second);
    }

    std::unique_ptr<Image> image(const std::string& name, Access access = Access::read_only) {
        OpenOptions options;
        options.access = access;
        auto opened = Image::open(name, options, *this);
        REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message));
        return std::move(*opened);
    }
    void write(const std::string& name, std::uint64_t at, std::uint64_t count, int value) {
        const auto opened = image(name, Access::read_write);
        REQUIRE(opened->write(GuestOffset(at), Bytes(count, std::byte(value))));
        REQUIRE(opened->flush());
    }
    void zero(const std::string& name, std::uint64_t at, std::uint64_t count) {
        const auto opened = image(name, Access::read_write);
        REQUIRE(opened->write_zeroes(GuestRange(GuestOffset(at), count)));
        REQUIRE(opened->flush());
    }

    // What guests see.
    Bytes read(const std::string& name) {
        const auto opened = image(name);
        Bytes disk(opened->size());
        REQUIRE(opened->read(GuestOffset(0), disk));
        return disk;
    }
    // Guest bytes that the image itself has data for.
    std::uint64_t allocated(const std::string& name) {
        const auto opened = image(name);
        std::uint64_t bytes = 0;
        for (GuestOffset at(0); at.bytes < opened->size();) {
            const auto mapping =
                opened->format().map(GuestRange::between(at, GuestOffset(opened->size()))).value();
            if (mapping.kind == MappingKind::data) bytes += mapping.range.length;
            at = mapping.range.end();
        }
        return bytes;
    }
    std::uint64_t findings(const std::string& name) {
        const auto opened = image(name);
        auto& format = dynamic_cast<qcow2::Qcow2&>(opened->format());
        const auto report = qcow2::check_image(format, Repair::none, {}, no_progress()).value();
        return report.corruptions + report.leaks;
    }
    std::optional<std::string> backing_of(const std::string& name) {
        OpenOptions alone;
        alone.with_backing = false;
        return Image::open(name, alone, *this).value()->format().backing_file();
    }
    // The file's bytes, and how many clusters of 64 KiB that is.
    Bytes content(const std::string& name) {
        Bytes bytes(files_.at(name)->size().value());
        REQUIRE(files_.at(name)->read(HostOffset(0), bytes));
        return bytes;
    }
    std::uint64_t clusters(const std::string& name) { return files_.at(name)->size().value() / (64 * KiB); }
    std::uint64_t bytes_read(const std::string& name) { return files_.at(name)->bytes_read(); }

  private:
    class CountingStorage final : public Storage {
      public:
        explicit CountingStorage(std::string name) : inner_(memory_storage(std::move(name))) {}

        std::uint64_t bytes_read() const { return bytes_read_; }
        const std::string& name() const override { return inner_->name(); }
        Result<std::uint64_t> size() const override { return inner_->size(); }
        Result<void> read(HostOffset at, std::span<std::byte> into) const override {
            bytes_read_ += into.size();
            return inner_->read(at, into);
        }
        Result<void> write(HostOffset at, std::span<const std::byte> from) override {
            return inner_->write(at, from);
        }
        Result<void> write_zeroes(HostRange range) override { return inner_->write_zeroes(range); }
        Result<void> discard(HostRange range) override { return inner_->discard(range); }
        Result<void> allocate(HostRange range) override { return inner_->allocate(range); }
        Result<void> resize(std::uint64_t bytes) override { return inner_->resize(bytes); }
        Result<void> flush() override { return inner_->flush(); }
        Result<StorageExtent> extent(HostOffset at) const override { return inner_->extent(at); }
        Result<std::uint64_t> allocated_bytes() const override { return inner_->allocated_bytes(); }

      private:
        std::unique_ptr<Storage> inner_;
        mutable std::atomic<std::uint64_t> bytes_read_ = 0;
    };

    std::map<std::string, std::unique_ptr<CountingStorage>> files_;
};

}  // namespace qimg::test
