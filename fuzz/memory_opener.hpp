// Opens files in memory for targets that run whole operations: one is the input, others are added, and every
// other name is a raw disk of some data that comes into being when it is asked for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.hpp"
#include "qimg/image.hpp"

namespace qimg::fuzz {

inline constexpr std::size_t other_file_bytes = 40000;

class MemoryOpener : public Opener {
  public:
    explicit MemoryOpener(std::span<const std::byte> image, const std::string& name = "image") {
        auto storage = memory_storage(name);
        if (storage->write(HostOffset(0), image)) add(name, std::move(storage));
    }

    void add(const std::string& path, std::unique_ptr<Storage> file) { files_[path] = std::move(file); }

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions&) override {
        auto& file = files_[path];
        if (!file) {
            Bytes content(other_file_bytes);
            for (std::size_t i = 0; i < content.size(); ++i)
                content[i] = static_cast<std::byte>(i * 7 + i / 512);
            file = memory_storage(path);
            const auto written = file->write(HostOffset(0), content);
            if (!written) return std::unexpected<Error>(written.error());
        }
        return borrow_storage(*file);
    }

  private:
    std::map<std::string, std::unique_ptr<Storage>> files_;
};

}  // namespace qimg::fuzz
