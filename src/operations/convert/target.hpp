// Target: the image that is written. Knows whether it is new or was there before, and therefore what can be
// left out.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "format/format.hpp"
#include "format/qcow2/header.hpp"
#include "operations/convert/runs.hpp"
#include "operations/new_image.hpp"
#include "qimg/image.hpp"
#include "qimg/operations/convert.hpp"
#include "qimg/progress.hpp"

namespace qimg {

class Target {
  public:
    // Creates the image, or opens the one that exists. `size` in bytes. Errors: of create and Image::open;
    // unsupported for compression in a format without; invalid_argument for a target that is too small.
    static Result<Target> open(const ConvertOptions& options, std::uint64_t size, Opener& opener,
                               Progress& progress);

    // What is allocated at once, bytes: data is written in multiples of it.
    std::uint64_t unit() const { return unit_; }
    // The backing image, when what it has need not be written.
    const Image* base() const { return image_->backing(); }
    // The codec of its compressed clusters; none in a raw image.
    std::optional<Codec> codec() const { return image_->format().codec(); }
    // Whether whole units are stored compressed: asked for, or because the format has no others.
    bool compresses() const { return compresses_; }

    Image& image() { return *image_; }

    // Writes what a window has turned into. Errors name the guest offset.
    Result<void> write(const Work& work);
    // Makes everything durable and, for a new image, visible under its name.
    Result<void> finish();

  private:
    Target(std::unique_ptr<Image> image, NewFiles files)
        : files_(std::move(files)), image_(std::move(image)) {}

    Result<void> write_run(const Work& work, const Run& run);
    Result<void> write_data(const Work& work, GuestRange range);
    Result<void> fill(const Work& work, const Reservation& reservation) const;
    Result<void> reach_space_end();

    NewFiles files_;  // none: the image was there before. They outlive image_, which writes to them
    std::unique_ptr<Image> image_;
    std::uint64_t unit_ = 0;
    bool compresses_ = false;
    bool reads_as_zero_ = false;  // where nothing was written
    bool space_is_zero_ = false;  // and so does space that was just allocated
    HostOffset space_end_;        // behind all that was allocated
};

}  // namespace qimg
