// A file that gets its name only when it is complete.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/text.hpp"
#include "base/try.hpp"
#include "storage/file_storage.hpp"
#include "storage/qemu_locks.hpp"
#include "storage/unfinished_files.hpp"

namespace qimg {

namespace {

constexpr int name_attempts = 100;      // of one process, for one file
constexpr mode_t new_file_mode = 0644;  // QEMU's, before the umask

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

// Writing through a symbolic link means writing the file that it names.
std::string resolve_links(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> target(::realpath(path.c_str(), nullptr), &std::free);
    return target ? std::string(target.get()) : path;
}

std::unexpected<Error> fail_create(int error_number, const std::string& path) {
    return fail(error_kind(error_number),
                fmt::format("Could not create '{}': {}", printable(path), errno_text(error_number)),
                error_number);
}

// A file without a name in the folder of its final name (O_TMPFILE): whatever kills the process, the kernel
// frees it. Where the file system has no such files, a hidden one.
class UnnamedFile final : public FileStorage<NewFile> {
  public:
    UnnamedFile(Fd descriptor, std::string name, std::string target,
                std::unique_ptr<UnfinishedName> temporary, Fd replaced)
        : FileStorage(std::move(descriptor), std::move(name)),
          target_(std::move(target)),
          temporary_(std::move(temporary)),
          replaced_(std::move(replaced)) {}

    Result<void> commit() override {
        TRY(flush());
        if (!temporary_) {
            if (link_as(target_) == 0) return flush_folder();
            if (errno != EEXIST) return fail_create(errno, name_);
            TRY(link_temporary());
        }
        if (::rename(temporary_->path().c_str(), target_.c_str()) != 0) return fail_create(errno, name_);
        temporary_->forget();
        temporary_.reset();
        return flush_folder();
    }

  private:
    int link_as(const std::string& path) const {
        const std::string self = fmt::format("/proc/self/fd/{}", fd_.get());
        return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW);
    }

    // A link cannot replace a file; a rename can, and for that the file needs some name first.
    Result<void> link_temporary() {
        remove_leftovers(target_);
        for (int attempt = 0; attempt < name_attempts; ++attempt) {
            auto candidate = std::make_unique<UnfinishedName>(target_, attempt);
            if (link_as(candidate->path()) == 0) {
                temporary_ = std::move(candidate);
                return {};
            }
            const int error_number = errno;
            candidate->forget();
            if (error_number != EEXIST) return fail_create(error_number, name_);
        }
        return fail_create(EEXIST, name_);
    }

    // The new name itself must survive a crash, too.
    Result<void> flush_folder() const {
        const Fd folder(::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (folder && ::fsync(folder.get()) != 0 && errno != EINVAL && errno != EROFS) {
            return fail_errno(errno, name_, "flush the folder");
        }
        return {};
    }

    std::string target_;
    std::unique_ptr<UnfinishedName> temporary_;
    Fd replaced_;  // the older file, kept open so that its locks hold until it is replaced
};

// A block device has its name already: commit can only make it durable.
class DeviceFile final : public FileStorage<NewFile> {
  public:
    using FileStorage::FileStorage;
    Result<void> commit() override { return flush(); }
};

struct OpenedFile {
    Fd descriptor;
    std::unique_ptr<UnfinishedName> name;  // null: it has none
};

// The descriptor is empty, and errno set, when neither sort of file can be made.
OpenedFile open_unfinished(const std::string& target, mode_t mode) {
    OpenedFile file;
    file.descriptor = Fd(::open(folder_of(target).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
    if (file.descriptor || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) return file;
    remove_leftovers(target);
    for (int attempt = 0; attempt < name_attempts && !file.descriptor; ++attempt) {
        file.name = std::make_unique<UnfinishedName>(target, attempt);
        file.descriptor = Fd(::open(file.name->path().c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));
        if (file.descriptor) break;
        const int error_number = errno;
        file.name->forget();
        errno = error_number;
        if (error_number != EEXIST) break;
    }
    return file;
}

}  // namespace

Result<std::unique_ptr<NewFile>> create_file(const std::string& path) {
    const std::string target = resolve_links(path);
    struct stat status;
    mode_t mode = new_file_mode;
    Fd replaced;
    if (::stat(target.c_str(), &status) == 0) {
        if (S_ISDIR(status.st_mode)) return fail_create(EISDIR, path);
        if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) return fail_create(EINVAL, path);
        Fd old(::open(target.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
        if (!old) return fail_create(errno, path);
        TRY(lock_as_qemu(old.get(), Access::read_write, path));
        if (S_ISBLK(status.st_mode)) return std::make_unique<DeviceFile>(std::move(old), path);
        mode = status.st_mode & 0777;
        replaced = std::move(old);
    }

    OpenedFile unnamed = open_unfinished(target, mode);
    if (!unnamed.descriptor) return fail_create(errno, path);
    const int descriptor = unnamed.descriptor.get();
    // the umask applied to a new file is right; a replaced file keeps its mode and, where allowed, its owner
    if (replaced) {
        if (::fchown(descriptor, status.st_uid, status.st_gid) != 0 && errno != EPERM) {
            return fail_create(errno, path);
        }
        ::fchmod(descriptor, mode);
    }
    TRY(lock_as_qemu(descriptor, Access::read_write, path));
    return std::make_unique<UnnamedFile>(std::move(unnamed.descriptor), path, target, std::move(unnamed.name),
                                         std::move(replaced));
}

}  // namespace qimg
