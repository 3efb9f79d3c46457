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

    // Whether files' blocks may become its own: null, or the storage that guest data is in.
    Storage* shares_blocks(const ConvertOptions& options) const;

    // Finds space for what a window has turned into, in guest order. An image that was there before has the
    // bytes afterwards: nothing may point to space that they are still to come to. For a new one, write()
    // brings them, from any thread and in any order. Errors name the guest offset.
    Result<void> place(Work& work);
    Result<void> write(const Work& work) const;
    // Makes everything durable and, for a new image, visible under its name.
    Result<void> finish();

  private:
    Target(std::unique_ptr<Image> image, NewFiles files)
        : files_(std::move(files)), image_(std::move(image)) {}

    Result<void> place_run(Work& work, const Run& run);
    Result<void> place_data(Work& work, const Run& run);
    Result<Reservation> find_space(GuestRange range, bool& is_published);
    Result<void> fill(Work& work, const Run& run, const Reservation& reservation) const;
    Result<void> put(Work& work, const PlacedBytes& bytes) const;
    Result<void> share(const PlacedShare& part) const;
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
