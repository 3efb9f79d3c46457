// Pin: what an overlay's header remembers of the image below it, so that a change there can be noticed.
//
// Knows how it lies in the header; taking one and comparing it is the operations' business. The layout is
// public: qimg-pins(7).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

struct Pin {
    std::string format;                // of the base: "raw" or "qcow2"
    std::uint64_t disk_bytes = 0;      // virtual size
    std::uint64_t file_bytes = 0;      // of the file that guest data is in
    std::optional<FileTime> modified;  // likewise
    Digest digest{};                   // of header and tables, or of samples of a raw file
    std::optional<Digest> content;     // of what guests see

    friend bool operator==(const Pin&, const Pin&) = default;
};

Bytes serialize_pin(const Pin& pin);
// Nothing for a layout that is not known here.
std::optional<Pin> parse_pin(std::span<const std::byte> data);

}  // namespace qimg::qcow2
