// May another user reach a file? Needed before QEMU, which often runs as a user of its own, is started.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "qimg/error.hpp"

namespace qimg::vm {

struct FileUser {
    uid_t uid = 0;
    std::vector<gid_t> groups;
    std::string name;  // for messages: "libvirt-qemu (uid 64055)"
};
// With the groups that the user database gives the user besides `gid`.
FileUser file_user(uid_t uid, gid_t gid);

enum class FileNeed { search, read, write };

// The rule of path_resolution(7) for one file's owner, group and mode.
bool mode_allows(const FileUser& user, FileNeed need, uid_t owner, gid_t group, mode_t mode);

// Checks every folder on the way to `path` (absolute), also behind symbolic links, and the file itself.
// Where a file has an access control list its mode bits do not decide, so it passes. Errors: read_only, with
// the component that bars the way and the command that opens it; not_found.
Result<void> check_access(const std::string& path, FileNeed need, const FileUser& user);

}  // namespace qimg::vm
