// Files in the making that have a name.
// SPDX-License-Identifier: Apache-2.0
#include "storage/unfinished_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/text.hpp"
#include "qimg/storage.hpp"
#include "storage/qemu_locks.hpp"

namespace qimg {

namespace {

constexpr std::string_view suffix = ".qimg-unfinished";
constexpr std::size_t base_name_max = 200;  // so that the whole stays a file name

// What a signal handler can read: no memory of it ever moves.
struct Slot {
    std::atomic<bool> taken = false;
    std::atomic<bool> filled = false;
    std::array<char, 4096> path{};
};
std::array<Slot, 8> slots;

std::pair<std::string, std::string> split(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

std::string prefix_of(const std::string& base_name) {
    return fmt::format(".{}.", std::string_view(base_name).substr(0, base_name_max));
}

int fill_slot(const std::string& path) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
        if (path.size() >= slots[i].path.size() || slots[i].taken.exchange(true)) continue;
        std::copy(path.begin(), path.end(), slots[i].path.begin());
        slots[i].path[path.size()] = '\0';
        slots[i].filled = true;
        return static_cast<int>(i);
    }
    return -1;
}

// The process in "PREFIX PID.ATTEMPT SUFFIX"; 0 when it is no such name.
pid_t process_of(std::string_view name, std::string_view prefix) {
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) return 0;
    if (name.size() <= prefix.size() + suffix.size()) return 0;
    name = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    pid_t process = 0;
    int attempt = 0;
    const char* const end = name.data() + name.size();
    const auto number = std::from_chars(name.data(), end, process);
    if (number.ec != std::errc() || number.ptr == end || *number.ptr != '.') return 0;
    const auto second = std::from_chars(number.ptr + 1, end, attempt);
    return second.ec == std::errc() && second.ptr == end && process > 0 ? process : 0;
}

void remove_if_left(const std::string& path, pid_t process) {
    if (::kill(process, 0) == 0 || errno != ESRCH) return;
    const Fd file(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status;
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    // a process of another machine, or of a container, that is not to be seen here holds the lock
    if (lock_as_qemu(file.get(), Access::read_write, path)) ::unlink(path.c_str());
}

void end_by_signal(int number) {
    for (Slot& slot : slots) {
        if (slot.filled) ::unlink(slot.path.data());
    }
    ::signal(number, SIG_DFL);
    ::raise(number);
}

}  // namespace

UnfinishedName::UnfinishedName(const std::string& target, int attempt) {
    const auto [folder, base_name] = split(target);
    path_ = fmt::format("{}{}{}.{}{}", folder, prefix_of(base_name), ::getpid(), attempt, suffix);
    slot_ = fill_slot(path_);
}

UnfinishedName::~UnfinishedName() {
    if (!path_.empty()) ::unlink(path_.c_str());
    forget();
}

void UnfinishedName::forget() {
    path_.clear();
    if (slot_ < 0) return;
    Slot& slot = slots[static_cast<std::size_t>(std::exchange(slot_, -1))];
    slot.filled = false;
    slot.taken = false;
}

void remove_leftovers(const std::string& target) {
    const auto [folder, base_name] = split(target);
    const std::string prefix = prefix_of(base_name);
    const auto close = [](DIR* open) { ::closedir(open); };
    const std::unique_ptr<DIR, decltype(close)> entries(::opendir(folder.empty() ? "." : folder.c_str()),
                                                        close);
    if (!entries) return;
    while (const dirent* entry = ::readdir(entries.get())) {
        const pid_t process = process_of(entry->d_name, prefix);
        if (process != 0) remove_if_left(folder + entry->d_name, process);
    }
}

void remove_unfinished_on_signals() {
    struct sigaction action = {};
    action.sa_handler = end_by_signal;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction before = {};
        // who started us may want that we go on
        if (::sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
        ::sigaction(number, &action, nullptr);
    }
}

}  // namespace qimg
