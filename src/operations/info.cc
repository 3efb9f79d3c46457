// Collecting what images say about themselves.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/info.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/format.hpp"
#include "image/opener.hpp"

namespace qimg {

namespace {

Result<ImageInfo> describe(const Image& image) {
    const Format& format = image.format();
    ImageInfo info;
    const Assembly plain;
    const Assembly& assembly = image.assembly() != nullptr ? *image.assembly() : plain;
    info.path = assembly.name.empty() ? image.path() : assembly.name;
    info.format = assembly.driver.empty() ? std::string(format.name()) : assembly.driver;
    info.virtual_bytes = image.size();
    if (assembly.tells_disk_size) info.allocated_bytes = TRY(format.storage().allocated_bytes());
    info.backing_file = format.backing_file();
    info.backing_format = format.backing_format();
    if (info.backing_file) {
        const bool is_absolute = protocol_of(*info.backing_file) || info.backing_file->starts_with('/');
        if (is_absolute) {
            info.full_backing_file = info.backing_file;
        } else if (assembly.has_folder) {
            info.full_backing_file = resolve_reference(image.path(), *info.backing_file);
        }
    }
    TRY(format.describe(info));
    if (!assembly.driver.empty()) {  // nothing but the format itself knows these
        info.qcow2.reset();
        info.snapshots.clear();
        info.backing_file = info.full_backing_file = info.backing_format = std::nullopt;
    }
    return info;
}

}  // namespace

Result<std::vector<ImageInfo>> info(const InfoOptions& options, Opener& opener) {
    std::vector<ImageInfo> chain;
    std::string path = options.path;
    OpenOptions open = options.open;
    open.with_backing = false;
    while (true) {
        const auto same = [&](const ImageInfo& above) { return above.path == path; };
        if (std::any_of(chain.begin(), chain.end(), same)) {
            return failf(ErrorKind::corrupt, "Backing file '{}' creates an infinite loop.", printable(path));
        }
        const auto image = TRY(Image::open(path, open, opener));
        ImageInfo one = TRY(describe(*image));
        chain.push_back(std::move(one));
        if (!options.backing_chain || !chain.back().full_backing_file) return chain;
        path = resolve_reference(path, *chain.back().backing_file);
        open.format = chain.back().backing_format;
        open.assembly = nullptr;
    }
}

}  // namespace qimg
