// ClusterCompressor: writes guest data as compressed clusters, made on all processors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.hpp"
#include "format/compression.hpp"
#include "operations/crew.hpp"
#include "qimg/error.hpp"
#include "qimg/image.hpp"

namespace qimg {

class ClusterCompressor {
  public:
    // For writing to `image`. Errors: unsupported for a format without compressed clusters.
    static Result<std::unique_ptr<ClusterCompressor>> make(const Image& image);
    ClusterCompressor(std::vector<std::unique_ptr<Compressor>> members, std::uint64_t cluster_bytes);

    // What is no whole cluster, or gets no smaller, is written as it is. Nothing of the range may be allocated
    // in the image.
    Result<void> write(Image& image, GuestRange range, std::span<const std::byte> from);

  private:
    struct Slot {
        Bytes cluster;
        std::optional<Bytes> stream;
    };
    Result<void> write_clusters(Image& image, GuestRange range, std::span<const std::byte> from);

    std::uint64_t cluster_bytes_;
    std::vector<std::unique_ptr<Compressor>> members_;
    std::vector<Slot> slots_;
    Crew crew_;  // works on what is above
};

}  // namespace qimg
