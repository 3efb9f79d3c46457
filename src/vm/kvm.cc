// The file that remembers whether a kernel booted under KVM since this machine's boot.
// SPDX-License-Identifier: Apache-2.0
#include "vm/kvm.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace qimg::vm {

namespace {

namespace fs = std::filesystem;

std::string first_word(const fs::path& path) {
    std::ifstream file(path);
    std::string word;
    file >> word;
    return word;
}

std::string boot_id() {
    return first_word("/proc/sys/kernel/random/boot_id");
}

fs::path answer_path() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    if (cache && *cache == '/') return fs::path(cache) / "vmbox" / "kvm";
    const char* home = std::getenv("HOME");
    return fs::path(home ? home : "/nonexistent") / ".cache" / "vmbox" / "kvm";
}

}  // namespace

std::optional<bool> remembered_kvm() {
    std::ifstream file(answer_path());
    std::string boot;
    std::string answer;
    file >> boot >> answer;
    if (boot.empty() || boot != boot_id()) return std::nullopt;
    if (answer == "yes") return true;
    if (answer == "no") return false;
    return std::nullopt;
}

void remember_kvm(bool works) {
    const fs::path path = answer_path();
    std::error_code ignored;
    fs::create_directories(path.parent_path(), ignored);
    const fs::path whole = path.string() + ".new";
    {
        std::ofstream file(whole);
        file << boot_id() << (works ? " yes\n" : " no\n");
        if (!file.good()) return;
    }
    fs::rename(whole, path, ignored);
}

}  // namespace qimg::vm
