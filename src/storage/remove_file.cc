// Removing a file's name, and flushing the folder that it was in.
// SPDX-License-Identifier: Apache-2.0
#include "storage/remove_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/fd.hpp"
#include "base/text.hpp"

namespace qimg {

Result<void> remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0) return fail_errno(errno, path, "cannot remove");
    const std::filesystem::path parent = std::filesystem::path(path).parent_path();
    const Fd folder(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder && ::fsync(folder.get()) != 0 && errno != EINVAL && errno != EROFS)
        return fail_errno(errno, path, "flush the folder");
    return {};
}

}  // namespace qimg
