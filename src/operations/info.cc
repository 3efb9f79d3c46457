// Collecting what images say about themselves.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/info.hpp"

#include "base/try.hpp"
#include "format/format.hpp"
#include "image/opener.hpp"

namespace qimg {

namespace {

Result<ImageInfo> describe(const Image& image) {
    const Format& format = image.format();
    ImageInfo info;
    info.path = image.path();
    info.format = std::string(format.name());
    info.virtual_bytes = image.size();
    info.allocated_bytes = TRY(format.storage().allocated_bytes());
    if (&format.data_storage() != &format.storage()) {
        info.allocated_bytes += TRY(format.data_storage().allocated_bytes());
    }
    info.backing_file = format.backing_file();
    info.backing_format = format.backing_format();
    if (info.backing_file) info.full_backing_file = resolve_reference(info.path, *info.backing_file);
    TRY(format.describe(info));
    return info;
}

}  // namespace

Result<std::vector<ImageInfo>> info(const InfoOptions& options, Opener& opener) {
    OpenOptions open = options.open;
    open.with_backing = options.backing_chain;
    const auto top = TRY(Image::open(options.path, open, opener));
    std::vector<ImageInfo> chain;
    for (const Image* image = top.get(); image != nullptr; image = image->backing()) {
        ImageInfo one = TRY(describe(*image));
        chain.push_back(std::move(one));
    }
    return chain;
}

}  // namespace qimg
