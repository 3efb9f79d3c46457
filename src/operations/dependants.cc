// Looking through a folder for images that name a file.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/dependants.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/header.hpp"
#include "image/opener.hpp"

namespace qimg {

namespace {

namespace fs = std::filesystem;

struct FileIdentity {
    dev_t device;
    ino_t inode;
    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

std::optional<FileIdentity> identity_of(const std::string& path) {
    struct stat status;
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return FileIdentity{status.st_dev, status.st_ino};
}

// The files that the image's header names; none when it is no image.
std::vector<std::string> names_in_header(const std::string& path) {
    const auto storage = open_file(path, {Access::read_only, Locking::share});
    if (!storage) return {};
    const auto format = probe_format(**storage);
    if (!format || *format != "qcow2") return {};
    const auto header = qcow2::read_header(**storage);
    if (!header) return {};
    std::vector<std::string> names;
    const auto add = [&](const std::optional<std::string>& name) {
        if (name) names.push_back(resolve_reference(path, *name));
    };
    add(header->backing_file);
    if (header->has_data_file()) add(header->text_extension(qcow2::disk::extension_data_file));
    return names;
}

}  // namespace

Result<std::vector<std::string>> find_dependants(const DependantsOptions& options) {
    const auto target = identity_of(options.path);
    if (!target) return failf(ErrorKind::not_found, "{}: no such file", printable(options.path));
    const auto except = identity_of(options.except);
    const fs::path parent = fs::path(options.path).parent_path();
    std::error_code failed;
    std::vector<std::string> found;
    for (fs::directory_iterator entry(parent.empty() ? "." : parent, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        std::error_code unknown;
        if (!entry->is_regular_file(unknown)) continue;
        const std::string path = parent.empty() ? entry->path().filename().string() : entry->path().string();
        const auto identity = identity_of(path);
        if (!identity || identity == target || identity == except) continue;
        const auto names = names_in_header(path);
        const bool stands_on_it = std::any_of(
            names.begin(), names.end(), [&](const std::string& name) { return identity_of(name) == target; });
        if (stands_on_it) found.push_back(path);
    }
    if (failed) return fail_errno(failed.value(), parent.string(), "cannot read the folder");
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace qimg
