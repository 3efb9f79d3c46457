// Collecting what images say about themselves.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/info.hpp"

#include <limits.h>
#include <unistd.h>

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
        info.backing_file.reset();
        info.full_backing_file.reset();
        info.backing_format.reset();
    }
    return info;
}

// Files are read and written through the page cache, which takes requests of any length at any place.
RequestLimits limits_of(const Format& format) {
    RequestLimits limits;
    limits.max_iov = IOV_MAX;
    limits.min_memory_alignment = 1;
    limits.opt_memory_alignment = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    if (format.cluster_bytes() > 1) {
        limits.discard_alignment = format.cluster_bytes();
        limits.write_zeroes_alignment = format.subcluster_bytes();
    }
    return limits;
}

// Opens an image that another one's header names.
class ReferenceOpener final : public Opener {
  public:
    ReferenceOpener(Opener& opener, std::string named_by) : opener_(opener), named_by_(std::move(named_by)) {}

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions& options) override {
        return opener_.open_reference(named_by_, path, options);
    }

  private:
    Opener& opener_;
    std::string named_by_;
};

}  // namespace

Result<std::vector<ImageInfo>> info(const InfoOptions& options, Opener& opener) {
    std::vector<ImageInfo> chain;
    ImageLocation location{options.path, options.open};
    location.open.with_backing = location.open.with_guest_data = false;
    std::string named_by;
    while (true) {
        const auto same = [&](const ImageInfo& above) { return above.path == location.path; };
        if (std::any_of(chain.begin(), chain.end(), same)) {
            return failf(ErrorKind::corrupt, "Backing file '{}' creates an infinite loop.",
                         printable(location.path));
        }
        ReferenceOpener reference(opener, named_by);
        Opener& from = chain.empty() ? opener : reference;
        // first of all: the opener of one that does not trust the image may leave no way to ask later on
        std::vector<FileUser> users;
        if (options.users) users = file_users(location.path);
        const auto image = TRY(Image::open(location.path, location.open, from));
        ImageInfo one = TRY(describe(*image));
        if (options.limits) one.limits = limits_of(image->format());
        one.users = std::move(users);
        chain.push_back(std::move(one));
        if (!options.backing_chain) return chain;
        location.open.with_backing = true;
        std::optional<ImageLocation> below = TRY(location_below(location, image->format(), opener));
        if (!below) return chain;
        named_by = std::exchange(location, std::move(*below)).path;
        location.open.with_backing = location.open.with_guest_data = false;
    }
}

}  // namespace qimg
