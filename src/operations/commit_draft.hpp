// A disk with all the changes that a draft keeps aside, or as it was: for operations that change what guests see in
// many places at once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "guest/draft.hpp"
#include "qimg/error.hpp"
#include "qimg/image.hpp"

namespace qimg {

// Errors: unsupported, with the reason, when the image could not take a draft of so many bytes; as for
// qcow2::check_can_replace() and vmdk::Vmdk::check_can_grow().
Result<void> check_can_take_draft(const Image& image, std::uint64_t bytes);

// A draft of the image's disk with `bytes`, not less than it has. What is behind its end now reads as zeroes, whatever
// is there in the last cluster or below. Errors: those of reading.
Result<std::unique_ptr<guest::Draft>> open_draft(const Image& image, std::uint64_t bytes);

// All of it or nothing, whenever the program or the machine stops. A qcow2 image without a data file changes by one
// write of its header; others have their changes in a log beside them until they have arrived; finish_draft() brings
// them there after a crash, and nothing else is to be done with the image before. Errors: as for
// check_can_take_draft(), of qcow2::replace_disk() and of writing.
Result<void> commit_draft(Image& image, const guest::Draft& draft);

// Finishes what a crash left: true when there was something. The log knows the format. Errors: of apply_redo_log() and
// of Image::open().
Result<bool> finish_draft(const std::string& path, OpenOptions open, Opener& opener);
bool is_draft_unfinished(const std::string& path);

}  // namespace qimg
