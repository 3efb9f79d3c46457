// QEMU's image locks: one shared lock byte per permission held, and one per permission denied to others.
// SPDX-License-Identifier: Apache-2.0
#include "storage/qemu_locks.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <span>

#include "base/fd.hpp"
#include "base/text.hpp"
#include "qimg/file_use.hpp"
#include "qimg/file_users.hpp"

namespace qimg {

namespace {

struct Permission {
    int bit;
    const char* name;  // QEMU's word for it
};
constexpr Permission consistent_read{0, "consistent read"};
constexpr Permission write_image{1, "write"};
constexpr Permission resize_image{3, "resize"};

constexpr int held_base = 100;  // byte 100 + bit: somebody uses this permission
static_assert(held_base + write_image.bit == write_lock_byte);
constexpr int denied_base = 200;  // byte 200 + bit: somebody forbids it to others

struct flock lock_byte(short type, int at) {
    struct flock lock = {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = at;
    lock.l_len = 1;
    return lock;
}

// False where the file system has no such locks; QEMU goes on without them there, and so do we.
bool take(int descriptor, int at) {
    struct flock lock = lock_byte(F_RDLCK, at);
    return ::fcntl(descriptor, F_OFD_SETLK, &lock) == 0;
}

bool is_taken_by_other(int descriptor, int at) {
    struct flock lock = lock_byte(F_WRLCK, at);
    return ::fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

void release_all(int descriptor) {
    struct flock lock = lock_byte(F_UNLCK, held_base);
    lock.l_len = 200;
    ::fcntl(descriptor, F_OFD_SETLK, &lock);
}

std::string users_text(const std::string& path) {
    std::string text;
    for (const FileUser& user : file_users(path)) {
        if (!text.empty()) text += "; ";
        text += user_text(user);
    }
    return text.empty() ? "this process, or one of another user, whom root can see" : text;
}

}  // namespace

Result<void> lock_as_qemu(int descriptor, Access access, const std::string& name) {
    static constexpr std::array reading{consistent_read};
    static constexpr std::array writing{consistent_read, write_image, resize_image};
    static constexpr std::array denied{write_image, resize_image};
    const std::span<const Permission> held = access == Access::read_write
                                                 ? std::span<const Permission>(writing)
                                                 : std::span<const Permission>(reading);

    for (const Permission& permission : held) {
        if (!take(descriptor, held_base + permission.bit)) return {};
    }
    for (const Permission& permission : denied) {
        if (!take(descriptor, denied_base + permission.bit)) return {};
    }
    const auto refuse = [&](const char* shared, const Permission& permission) {
        release_all(descriptor);
        return fail_detailed(
            ErrorKind::in_use,
            fmt::format("Failed to get {}\"{}\" lock\nIs another process using the image [{}]?", shared,
                        permission.name, printable(name)),
            users_text(name));
    };
    for (const Permission& permission : held) {
        if (is_taken_by_other(descriptor, denied_base + permission.bit)) return refuse("", permission);
    }
    for (const Permission& permission : denied) {
        if (is_taken_by_other(descriptor, held_base + permission.bit)) return refuse("shared ", permission);
    }
    return {};
}

FileUse file_use(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) return FileUse::none;
    if (is_taken_by_other(file.get(), write_lock_byte)) return FileUse::write;
    return is_taken_by_other(file.get(), held_base + consistent_read.bit) ? FileUse::read : FileUse::none;
}

}  // namespace qimg
