// Makes, reads, locks and removes sandbox folders.
// SPDX-License-Identifier: Apache-2.0
#include "vm/sandbox_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "qimg/storage.hpp"
#include "vm/hypervisor.hpp"

namespace qimg::vm {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t name_bytes_max = 64;
constexpr std::uint64_t record_bytes_max = MiB;
constexpr std::array own_entries{"disk.qcow2", "disk.qcow2.new", "seed.iso",
                                 "domain.xml", "vmbox.json",     "console.log"};

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// virtlogd keeps older parts of a long log as console.log.0, .1, …
bool is_own(const std::string& entry) {
    if (std::find(own_entries.begin(), own_entries.end(), entry) != own_entries.end()) return true;
    constexpr std::string_view rotated = "console.log.";
    return entry.starts_with(rotated) && entry.size() == rotated.size() + 1 && entry.back() >= '0' &&
           entry.back() <= '9';
}

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

Result<void> write_text(const std::string& path, const std::string& text) {
    const auto file = TRY(create_file(path));
    TRY(file->write(HostOffset(0), bytes_of(text)));
    return file->commit();
}

std::unexpected<Error> fail_taken(const std::string& path) {
    const std::string name = fs::path(path).filename().string();
    return failf(
        ErrorKind::exists,
        "{}: there is a sandbox of that name already; 'vmbox up {}' without --image starts it, 'vmbox reset "
        "{}' makes it new, 'vmbox rm {}' removes it",
        printable(path), name, name, name);
}

}  // namespace

std::string default_connection() {
    const std::string wanted = environment("LIBVIRT_DEFAULT_URI");
    if (!wanted.empty()) return wanted;
    return ::geteuid() == 0 ? "qemu:///system" : "qemu:///session";
}

std::string default_folder(const std::string& connection) {
    const std::string wanted = environment("VMBOX_DIR");
    if (!wanted.empty()) return wanted;
    if (::geteuid() == 0 && is_system(connection)) return "/var/lib/vmbox";
    const std::string data = environment("XDG_DATA_HOME");
    return data.starts_with('/') ? data + "/vmbox" : environment("HOME") + "/.local/share/vmbox";
}

Place resolve(const Place& place) {
    Place resolved = place;
    if (resolved.connection.empty()) resolved.connection = default_connection();
    if (resolved.folder.empty()) resolved.folder = default_folder(resolved.connection);
    std::error_code ignored;
    resolved.folder = fs::absolute(resolved.folder, ignored).lexically_normal();
    while (resolved.folder.size() > 1 && resolved.folder.ends_with('/'))
        resolved.folder.pop_back();
    return resolved;
}

Result<void> check_name(const std::string& name) {
    const bool well_formed =
        !name.empty() && is_letter_or_digit(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
            return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-';
        });
    if (well_formed && name.size() <= name_bytes_max) return {};
    return failf(
        ErrorKind::invalid_argument,
        "{}: not a name for a sandbox: it starts with a letter or digit and holds only letters, digits, "
        "'.', '_' and '-', {} at most",
        name.empty() ? "''" : printable(name), name_bytes_max);
}

Result<void> SandboxFolder::check_free() const {
    struct stat status;
    if (::lstat(path_.c_str(), &status) == 0) return fail_taken(path_);
    return {};
}

Result<void> SandboxFolder::create() const {
    const fs::path parent = fs::path(path_).parent_path();
    std::error_code problem;
    const bool made = fs::create_directories(parent, problem);
    if (problem) return fail_errno(problem.value(), parent.string(), "cannot make the folder for sandboxes");
    // QEMU may run as another user, who must get through but has nothing to read here
    if (made) ::chmod(parent.c_str(), 0711);
    if (::mkdir(path_.c_str(), 0700) == 0) return {};
    if (errno != EEXIST) return fail_errno(errno, path_, "cannot make the sandbox's folder");
    return fail_taken(path_);
}

Result<Record> SandboxFolder::read_record() const {
    const auto text = read_text(record(), record_bytes_max);
    if (text) return parse_record(record(), *text);
    if (text.error().kind != ErrorKind::not_found) return std::unexpected(text.error());
    const bool unfinished = ::access(path_.c_str(), F_OK) == 0;
    return failf(ErrorKind::not_found, "{}: {}", printable(path_),
                 unfinished
                     ? "holds no sandbox (no vmbox.json)"
                     : "no such sandbox; 'vmbox ls' lists them, 'vmbox up NAME --image BASE' makes one");
}

Result<void> SandboxFolder::write_record(const Record& of) const {
    return write_text(record(), record_text(of));
}

Result<void> SandboxFolder::write_domain(const std::string& xml) const {
    return write_text(domain(), xml);
}

Result<Fd> SandboxFolder::lock() const {
    Fd folder(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return fail_errno(errno, path_, "cannot open the sandbox's folder");
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) == 0) return folder;
    if (errno != EWOULDBLOCK) return fail_errno(errno, path_, "cannot lock the sandbox's folder");
    return failf(ErrorKind::in_use, "{}: another vmbox is at work on this sandbox; try again when it is done",
                 printable(path_));
}

Result<std::vector<std::string>> SandboxFolder::foreign_entries() const {
    struct stat status;
    if (::lstat(path_.c_str(), &status) != 0) {
        return fail_errno(errno, path_, "no such sandbox");
    }
    if (!S_ISDIR(status.st_mode)) {
        return failf(ErrorKind::invalid_argument, "{}: not a folder, so no sandbox", printable(path_));
    }
    std::vector<std::string> foreign;
    std::error_code problem;
    for (fs::directory_iterator entry(path_, problem), end; !problem && entry != end;
         entry.increment(problem)) {
        const std::string name = entry->path().filename().string();
        // a sandbox makes regular files only
        if (!is_own(name) || entry->symlink_status(problem).type() != fs::file_type::regular)
            foreign.push_back(name);
    }
    if (problem) return fail_errno(problem.value(), path_, "cannot read the sandbox's folder");
    std::sort(foreign.begin(), foreign.end());
    return foreign;
}

Result<void> SandboxFolder::remove() const {
    std::error_code problem;
    fs::remove_all(path_, problem);
    if (problem) return fail_errno(problem.value(), path_, "cannot remove the sandbox's folder");
    return {};
}

std::vector<std::string> sandbox_names(const std::string& parent) {
    std::vector<std::string> names;
    std::error_code problem;
    for (fs::directory_iterator entry(parent, problem), end; !problem && entry != end;
         entry.increment(problem)) {
        const std::string name = entry->path().filename().string();
        if (check_name(name) && ::access(SandboxFolder(parent, name).record().c_str(), F_OK) == 0) {
            names.push_back(name);
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

Result<std::string> read_text(const std::string& path, std::uint64_t limit) {
    const auto file = TRY(open_file(path, {.access = Access::read_only, .locking = Locking::share}));
    const std::uint64_t size = TRY(file->size());
    if (size > limit) return failf(ErrorKind::no_space, "{}: larger than {} bytes", printable(path), limit);
    std::string text(size, '\0');
    TRY(file->read(HostOffset(0), std::as_writable_bytes(std::span<char>(text))));
    return text;
}

}  // namespace qimg::vm
