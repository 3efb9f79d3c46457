// A qcow2 image that operations change or make: whether it is small and whole, and what guests see of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/image.hpp"
#include "qimg/operations/check.hpp"

namespace qimg::fuzz {

// Larger disks are left alone: they are read as a whole, many times.
inline constexpr std::uint64_t disk_bytes_max = 4 * MiB;

class ImageUnderTest {
  public:
    // The opener must stay.
    ImageUnderTest(Opener& opener, std::string path) : opener_(&opener), path_(std::move(path)) {}

    OpenOptions open_options(Access access) const;
    Result<std::unique_ptr<Image>> open(Access access) const;
    static qcow2::Qcow2& qcow2_of(Image& image) { return dynamic_cast<qcow2::Qcow2&>(image.format()); }

    // Disk and tables can be read many times.
    bool is_small() const;
    std::optional<CheckReport> check_with(Repair wanted) const;
    // No corruption, no leak, no error.
    bool is_clean() const;
    // Clean, after a repair if need be, and with one purpose for each cluster.
    bool become_clean() const;
    // What guests see; nothing when some of it cannot be read.
    std::optional<Bytes> read_disk() const;

    // Ends the program, saying what check finds and what is wrong.
    [[noreturn]] void broken(std::string_view what) const;

  private:
    Opener* opener_;
    std::string path_;
};

}  // namespace qimg::fuzz
