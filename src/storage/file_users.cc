// Finding the holders of QEMU's locks. They are locks of open files, so the kernel names no process for them:
// whoever has the file open and a lock on that descriptor is one. proc(5): /proc/PID/fd, /proc/PID/fdinfo.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/file_users.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>

#include "base/text.hpp"
#include "storage/qemu_locks.hpp"

namespace qimg {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t command_bytes_max = 1 << 20;
constexpr std::size_t shown_bytes_max = 160;

std::string read_whole(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text(command_bytes_max, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
}

struct Locks {
    bool any = false;
    bool writes = false;
};

// "lock:\t1: OFDLCK  ADVISORY  READ 1234 00:1f:1234 100 100"
Locks locks_in(const std::string& descriptor_info) {
    Locks locks;
    std::istringstream lines(descriptor_info);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("lock:") || line.find(" OFDLCK ") == line.npos) continue;
        std::istringstream words(line);
        const std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
        if (fields.size() < 2) continue;
        long first = -1;
        long last = -1;
        const std::string& from = fields[fields.size() - 2];
        const std::string& to = fields.back();
        std::from_chars(from.data(), from.data() + from.size(), first);
        std::from_chars(to.data(), to.data() + to.size(), last);
        locks.any = locks.any || first >= 0;
        locks.writes = locks.writes || (first <= write_lock_byte && write_lock_byte <= last);
    }
    return locks;
}

// The locks of one process on the file that `wanted` describes.
Locks locks_of(const fs::path& process, const struct stat& wanted) {
    Locks locks;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(process / "fd", error)) {
        struct stat status;
        if (::stat(entry.path().c_str(), &status) != 0) continue;
        const bool is_same_device = S_ISBLK(wanted.st_mode) && status.st_rdev == wanted.st_rdev;
        const bool is_same_file = status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino;
        if (!is_same_file && !is_same_device) continue;
        const Locks some = locks_in(read_whole(process / "fdinfo" / entry.path().filename()));
        locks.any = locks.any || some.any;
        locks.writes = locks.writes || some.writes;
    }
    return locks;
}

// QEMU's option -name: "NAME,debug-threads=on" or "guest=NAME,debug-threads=on".
std::optional<std::string> domain_of(const std::vector<std::string>& words) {
    const auto option = std::ranges::find(words, "-name");
    if (option == words.end() || option + 1 == words.end()) return std::nullopt;
    std::string name = option[1].substr(0, option[1].find(','));
    constexpr std::string_view key = "guest=";
    if (name.starts_with(key)) name.erase(0, key.size());
    return name;
}

FileUser describe(int process, const fs::path& folder, bool writes) {
    FileUser user{process, {}, std::nullopt, writes};
    std::vector<std::string> words;
    std::istringstream command(read_whole(folder / "cmdline"));
    for (std::string word; std::getline(command, word, '\0');)
        words.push_back(std::move(word));
    user.domain = domain_of(words);
    for (const std::string& word : words)
        user.command += (user.command.empty() ? "" : " ") + word;
    return user;
}

}  // namespace

std::vector<FileUser> file_users(const std::string& path) {
    std::vector<FileUser> users;
    struct stat wanted;
    if (::stat(path.c_str(), &wanted) != 0) return users;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/proc", error)) {
        const std::string name = entry.path().filename().string();
        int process = 0;
        const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), process);
        if (status != std::errc() || end != name.data() + name.size() || process == ::getpid()) continue;
        const Locks locks = locks_of(entry.path(), wanted);
        if (locks.any) users.push_back(describe(process, entry.path(), locks.writes));
    }
    std::ranges::sort(users, {}, &FileUser::process);
    return users;
}

std::string user_text(const FileUser& user) {
    std::string text = fmt::format("process {}", user.process);
    if (user.domain) text += fmt::format(" (domain {})", printable(*user.domain));
    std::string command = user.command;
    if (command.size() > shown_bytes_max) command = command.substr(0, shown_bytes_max) + " …";
    return text + ": " + printable(command);
}

}  // namespace qimg
