// Which images of a folder name a file.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/dependants.hpp"

#include <filesystem>
#include <optional>

#include "base/text.hpp"
#include "base/try.hpp"
#include "operations/folder_images.hpp"
#include "operations/same_file.hpp"

namespace qimg {

Result<std::vector<std::string>> find_dependants(const DependantsOptions& options) {
    const auto target = identity_of_file(options.path);
    if (!target) return failf(ErrorKind::not_found, "{}: no such file", printable(options.path));
    const auto except = identity_of_file(options.except);
    const auto images = TRY(images_in(std::filesystem::path(options.path).parent_path().string()));
    std::vector<std::string> found;
    const auto is_target = [&](const std::optional<std::string>& name) {
        return name && identity_of_file(*name) == target;
    };
    for (const FolderImage& image : images) {
        const bool pins = image.header && image.header->find(qcow2::disk::extension_pin) != nullptr;
        if (options.pinning && !pins) continue;
        if (image.identity == *target || (except && image.identity == *except)) continue;
        if (is_target(image.backing) || is_target(image.data_file)) found.push_back(image.path);
    }
    return found;
}

}  // namespace qimg
