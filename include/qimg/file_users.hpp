// Who uses an image: the processes that hold QEMU's locks on its file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace qimg {

struct FileUser {
    int process = 0;      // its id
    std::string command;  // its command line, words separated by spaces; not yet printable
    std::optional<std::string>
        domain;           // the guest's name, when it is a QEMU that was told one (libvirt does)
    bool writes = false;  // it may change the image
};

// Linux tells which process holds such a lock only through its open files, and those of other users only to root:
// a user of the image may be missing here. Empty for what is no file. This process is left out.
std::vector<FileUser> file_users(const std::string& path);

// "process 42 (domain dev): qemu-system-x86_64 -name …", printable, the command cut to a readable length.
std::string user_text(const FileUser& user);

}  // namespace qimg
