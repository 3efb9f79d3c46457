// Going through a folder, and looking at each file's header.
// SPDX-License-Identifier: Apache-2.0
#include "operations/folder_images.hpp"

#include <algorithm>
#include <filesystem>

#include "base/text.hpp"
#include "base/try.hpp"
#include "image/opener.hpp"
#include "operations/same_file.hpp"

namespace qimg {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t extension_bytes_max = 1024;  // what is kept of each file: there may be many

bool is_kept(const qcow2::Extension& extension) {
    const bool is_of_use = extension.type == qcow2::disk::extension_pin ||
                           extension.type == qcow2::disk::extension_backing_format;
    return is_of_use && extension.data.size() <= extension_bytes_max;
}

}  // namespace

FolderImage look_at(const std::string& path, const FileIdentity& identity, const Storage& file) {
    FolderImage image;
    image.path = path;
    image.identity = identity;
    image.file_bytes = file.size().value_or(0);
    image.allocated_bytes = file.allocated_bytes().value_or(0);
    const auto format = probe_format(file);
    if (!format) {
        image.problem = format.error().message;
        return image;
    }
    image.format = *format;
    if (*format != "qcow2") return image;
    auto header = qcow2::read_header(file);
    if (!header) {
        image.problem = header.error().message;
        return image;
    }
    if (header->backing_file) image.backing = resolve_reference(path, *header->backing_file);
    const auto data_file = header->text_extension(qcow2::disk::extension_data_file);
    if (header->has_data_file() && data_file) image.data_file = resolve_reference(path, *data_file);
    std::erase_if(header->extensions, [](const qcow2::Extension& e) { return !is_kept(e); });
    header->unknown_fields.clear();
    image.header = std::move(*header);
    return image;
}

Result<std::vector<FolderImage>> images_in(const std::string& folder) {
    std::error_code failed;
    std::vector<FolderImage> images;
    for (fs::directory_iterator entry(folder.empty() ? "." : folder, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        std::error_code unknown;
        if (!entry->is_regular_file(unknown)) continue;
        const std::string path = folder.empty() ? entry->path().filename().string() : entry->path().string();
        const auto identity = identity_of_file(path);
        if (!identity) continue;  // gone since
        const auto file = open_file(path, {Access::read_only, Locking::share});
        if (file) {
            images.push_back(look_at(path, *identity, **file));
            continue;
        }
        FolderImage unreadable;
        unreadable.path = path;
        unreadable.identity = *identity;
        unreadable.problem = file.error().message;
        images.push_back(std::move(unreadable));
    }
    if (failed) return fail_errno(failed.value(), folder.empty() ? "." : folder, "cannot read the folder");
    std::ranges::sort(images, {}, &FolderImage::path);
    return images;
}

}  // namespace qimg
