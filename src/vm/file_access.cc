// Applies the file permission rules for a user other than the caller's own.
// SPDX-License-Identifier: Apache-2.0
#include "vm/file_access.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vm {

namespace {

bool has_access_list(const std::string& path) {
    return ::getxattr(path.c_str(), "system.posix_acl_access", nullptr, 0) > 0;
}

std::string account_name(const FileUser& user) {
    return user.name.substr(0, user.name.find(' '));
}

Result<void> check_component(const std::string& component, FileNeed need, const FileUser& user,
                             const std::string& path) {
    struct stat status;
    if (::stat(component.c_str(), &status) != 0) return fail_errno(errno, path, "cannot look at it");
    if (mode_allows(user, need, status.st_uid, status.st_gid, status.st_mode)) return {};
    if (has_access_list(component)) return {};
    const char* verb = need == FileNeed::search ? "searched" : need == FileNeed::read ? "read" : "written";
    const char* right = need == FileNeed::search ? "x" : need == FileNeed::read ? "r" : "rw";
    return failf(
        ErrorKind::read_only,
        "{}: {} {} may not be {} by {}, as whom QEMU runs; allow it with 'setfacl -m u:{}:{} {}', or move "
        "the file to where that user can read it",
        printable(path), need == FileNeed::search ? "the folder" : "the file", printable(component), verb,
        user.name, account_name(user), right, printable(component));
}

Result<void> check_folders(const std::string& path, const FileUser& user, const std::string& named) {
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        TRY(check_component(path.substr(0, slash), FileNeed::search, user, named));
    }
    return {};
}

}  // namespace

FileUser file_user(uid_t uid, gid_t gid) {
    FileUser user{.uid = uid, .groups = {gid}, .name = fmt::format("uid {}", uid)};
    struct passwd entry;
    struct passwd* found = nullptr;
    std::array<char, 4096> buffer{};
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || !found) return user;
    user.name = fmt::format("{} (uid {})", entry.pw_name, uid);
    std::array<gid_t, 256> groups{};
    int count = static_cast<int>(groups.size());
    if (::getgrouplist(entry.pw_name, gid, groups.data(), &count) >= 0) {
        user.groups.assign(groups.begin(), groups.begin() + count);
    }
    return user;
}

bool mode_allows(const FileUser& user, FileNeed need, uid_t owner, gid_t group, mode_t mode) {
    if (user.uid == 0) return need != FileNeed::search || S_ISDIR(mode) || (mode & 0111) != 0;
    const mode_t wanted = need == FileNeed::search ? 1 : need == FileNeed::read ? 4 : 6;
    const bool in_group = std::find(user.groups.begin(), user.groups.end(), group) != user.groups.end();
    const unsigned shift = user.uid == owner ? 6 : in_group ? 3 : 0;
    return ((mode >> shift) & wanted) == wanted;
}

Result<void> check_access(const std::string& path, FileNeed need, const FileUser& user) {
    TRY(check_folders(path, user, path));
    const std::unique_ptr<char, decltype(&std::free)> target(::realpath(path.c_str(), nullptr), &std::free);
    if (!target) return fail_errno(errno, path, "cannot be found");
    TRY(check_folders(target.get(), user, path));
    return check_component(target.get(), need, user, path);
}

}  // namespace qimg::vm
