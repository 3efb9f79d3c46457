// Compressing several clusters side by side, writing them in order.
// SPDX-License-Identifier: Apache-2.0
#include "operations/cluster_compressor.hpp"

#include <algorithm>
#include <thread>

#include "base/try.hpp"
#include "format/format.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg {

namespace {

constexpr std::size_t slots_per_member = 8;

}  // namespace

Result<std::unique_ptr<ClusterCompressor>> ClusterCompressor::make(const Image& image) {
    const auto* qcow2 = dynamic_cast<const qcow2::Qcow2*>(&image.format());
    if (qcow2 == nullptr || qcow2->header().has_data_file()) {
        return fail(ErrorKind::unsupported, "Compression not supported for this file format");
    }
    std::vector<std::unique_ptr<Compressor>> members;
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
        auto member = TRY(make_compressor(qcow2->header().codec, std::nullopt));
        members.push_back(std::move(member));
    }
    return std::make_unique<ClusterCompressor>(std::move(members), image.format().cluster_bytes());
}

ClusterCompressor::ClusterCompressor(std::vector<std::unique_ptr<Compressor>> members,
                                     std::uint64_t cluster_bytes)
    : cluster_bytes_(cluster_bytes),
      members_(std::move(members)),
      slots_(members_.size() * slots_per_member),
      crew_(members_.size(), slots_.size(), [this](std::size_t member, std::size_t number) {
          Slot& slot = slots_[number];
          const auto stream = members_[member]->compress(slot.cluster);
          slot.stream.reset();
          if (stream) slot.stream.emplace(stream->begin(), stream->end());
      }) {}

Result<void> ClusterCompressor::write(Image& image, GuestRange range, std::span<const std::byte> from) {
    const auto bytes = [&](GuestRange part) { return from.subspan(part.start - range.start, part.length); };
    const GuestOffset first(std::min(round_up(range.start.bytes, cluster_bytes_), range.end().bytes));
    // the disk's last cluster may be cut short
    const GuestOffset last =
        range.end().bytes == image.size()
            ? range.end()
            : std::max(first, GuestOffset(round_down(range.end().bytes, cluster_bytes_)));
    const GuestRange head = GuestRange::between(range.start, first);
    const GuestRange tail = GuestRange::between(last, range.end());
    if (!head.empty()) TRY(image.write(head.start, bytes(head)));
    const std::uint64_t batch = slots_.size() * cluster_bytes_;
    for (GuestOffset at = first; at < last;) {
        const GuestRange part = GuestRange::between(at, std::min(at + batch, last));
        TRY(write_clusters(image, part, bytes(part)));
        at = part.end();
    }
    return tail.empty() ? Result<void>() : image.write(tail.start, bytes(tail));
}

Result<void> ClusterCompressor::write_clusters(Image& image, GuestRange range,
                                               std::span<const std::byte> from) {
    const std::size_t count = divide_up(range.length, cluster_bytes_);
    const auto part = [&](std::size_t number) {
        const std::uint64_t at = number * cluster_bytes_;
        return from.subspan(at, std::min<std::uint64_t>(cluster_bytes_, from.size() - at));
    };
    for (std::size_t i = 0; i < count; ++i) {
        slots_[i].cluster.assign(part(i).begin(), part(i).end());
        slots_[i].cluster.resize(cluster_bytes_);
        crew_.submit(i);
    }
    Result<void> result;
    for (std::size_t i = 0; i < count; ++i) {
        crew_.wait(i);
        if (!result) continue;  // the crew still works on the slots
        const GuestOffset at = range.start + i * cluster_bytes_;
        result = slots_[i].stream ? image.format().write_compressed(at, *slots_[i].stream)
                                  : image.write(at, part(i));
    }
    return result;
}

}  // namespace qimg
