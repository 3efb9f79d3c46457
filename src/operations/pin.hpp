// Taking a pin of a base, keeping it in an overlay's header, and comparing it with the base as it is now.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "format/qcow2/pin.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/image.hpp"
#include "qimg/layout.hpp"
#include "qimg/operations/pins.hpp"
#include "qimg/progress.hpp"

namespace qimg {

// Of an open image; `mode` is not none. Errors: of reading; cancelled.
Result<qcow2::Pin> take_pin(const Image& base, PinMode mode, Progress& progress);

// The same; nothing when the base's tables break a rule. Whoever reads the base says so; putting an overlay on it is
// no reading.
Result<std::optional<qcow2::Pin>> pin_if_whole(const Image& base, PinMode mode, Progress& progress);

// Puts the pin into the header in memory, or takes it out.
void set_pin(qcow2::Header& overlay, const std::optional<qcow2::Pin>& pin);
// Nothing when there is none, or one that cannot be read.
std::optional<qcow2::Pin> pin_in(const qcow2::Header& overlay);

// Writes the header with what pin_base or set_pin put in it; a header with no room for the pin is written
// without it.
Result<void> rewrite_pinned_header(qcow2::Qcow2& overlay);

// The image as it is opened for that; null when it cannot be, or when somebody writes to it at the moment,
// which makes every pin wrong.
std::unique_ptr<Image> open_to_pin(const ImageLocation& base, PinMode mode, Opener& opener);

// Opens `base`, and pins it in the file of `overlay`; in the cases of CreateOptions::pin nothing is done.
// Errors: of reading the base and writing the overlay.
Result<void> pin_base(qcow2::Qcow2& overlay, const ImageLocation& base, PinMode mode, Opener& opener,
                      Progress& progress);

// A base as it is now, for comparing it with what its overlays have pinned; its tables are read once.
class BaseNow {
  public:
    // The image must outlive it.
    explicit BaseNow(const Image& base) : base_(base) {}

    // Fills in everything but the names. With `content`, that of the base is read where it is pinned.
    Result<PinReport> compare(const qcow2::Header& overlay, bool content, Progress& progress);

  private:
    Result<void> compare_quickly(const qcow2::Pin& pin, PinReport& report);
    Result<void> compare_content(const qcow2::Pin& pin, PinReport& report, Progress& progress) const;
    Result<Digest> digest(std::uint64_t file_bytes);

    const Image& base_;
    std::optional<Digest> digest_;
    std::uint64_t digest_bytes_ = 0;  // of the file, that it is for
};

// One report for each image of an open chain that has one below it, top first.
Result<std::vector<PinReport>> compare_chain(const Image& top, bool content, Progress& progress);

}  // namespace qimg
