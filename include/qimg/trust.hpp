// Names in headers, followed only where that is harmless.
//
// An image that somebody else made can name any file as its backing or data file, and whoever converts or
// boots it would hand that file's content over.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "qimg/error.hpp"
#include "qimg/image.hpp"

namespace qimg {

// Whether the file lies in the folder or below it, links followed, so that a link does not lead out of it.
bool is_below(const std::string& path, const std::string& folder);

// Opens what the user names, and what a header names when that lies in the folder of the image that names it
// (or below it), or says by its first bytes that it is a qcow2 image.
class CautiousOpener final : public Opener {
  public:
    // Asked about everything else, with the image that has the name and a sentence that says what is risky: an
    // error keeps it from being opened.
    using Decide = std::function<Result<void>(const std::string& named_by, const std::string& risk)>;
    explicit CautiousOpener(Decide decide) : decide_(std::move(decide)) {}

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions& options) override;
    Result<std::unique_ptr<Storage>> open_reference(const std::string& named_by, const std::string& path,
                                                    const FileOptions& options) override;

  private:
    Decide decide_;
};

}  // namespace qimg
