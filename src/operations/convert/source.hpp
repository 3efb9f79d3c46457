// Source: the images to convert, seen as one disk. Knows concatenation and snapshots; what is done with the
// bytes is decided elsewhere.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "operations/extent_walk.hpp"
#include "qimg/image.hpp"
#include "qimg/operations/convert.hpp"

namespace qimg {

// A run of the disk that comes from one place.
struct SourceExtent {
    GuestRange range;
    ExtentKind kind = ExtentKind::unallocated;
    unsigned depth = 0;
    const Image* holder = nullptr;  // the image of the chain that it comes from
    bool has_faults = false;        // reading it goes through images that fail on purpose
    std::optional<HostOffset> host;
    std::uint64_t compressed_bytes = 0;
};

class Source {
  public:
    // Errors: of Image::open; not_found for a snapshot.
    static Result<Source> open(const ConvertOptions& options, Opener& opener);

    std::uint64_t size() const { return size_; }
    // Safe from several threads. Bytes past the end read as zeroes. Errors name the guest offset.
    Result<void> read(GuestOffset at, std::span<std::byte> into) const;
    // What lies in a hole of its file counts as zeroes. Of one thread.
    Result<SourceExtent> extent(GuestRange range) const;
    // The same for damaged images: what cannot be read are zeroes, what cannot be told is data. Each sector that
    // this concerns is a line in `warnings`.
    void salvage(GuestOffset at, std::span<std::byte> into, std::vector<std::string>& warnings) const;
    SourceExtent salvage_extent(GuestRange range, std::vector<std::string>& warnings) const;

    // The only image, or the first one.
    Image& first() const { return *parts_.front().image; }
    // The largest in any of the images, bytes.
    std::uint64_t cluster_bytes_max() const;
    // True when one of the files of one of the chains is the file `path`.
    bool uses(const std::string& path) const;
    // How deep in the chain the file `path` is an image; only told for a single source whose start is
    // shown.
    std::optional<unsigned> depth_of(const std::string& path) const;

  private:
    // An image or a part of it, and where that starts; it ends where the next one starts.
    struct Part {
        GuestOffset start;
        std::unique_ptr<Image> image;
        GuestRange shown;
        std::unique_ptr<ExtentWalk> walk;  // of the image
    };
    const Part& part_at(GuestOffset at) const;
    GuestOffset end_of(const Part& part) const {
        return part.start + round_up(part.shown.length, sector_bytes);
    }

    std::vector<Part> parts_;
    std::uint64_t size_ = 0;
};

// An error at a guest offset in qemu-img's words: "error while DOING at byte N: WHY".
std::unexpected<Error> fail_at(std::string_view doing, GuestOffset at, const Error& cause);

}  // namespace qimg
