// The stock program as a second opinion on images in memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/recorded_folder.hpp"

namespace qimg::test {

class QemuCheck {
  public:
    QemuCheck() {
        std::string name = (std::filesystem::temp_directory_path() / "qimg-crash.XXXXXX").string();
        if (::mkdtemp(name.data()) != nullptr) folder_ = name;
    }
    ~QemuCheck() {
        std::error_code ignored;
        if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
    }
    QemuCheck(const QemuCheck&) = delete;
    QemuCheck& operator=(const QemuCheck&) = delete;

    // What qemu-img finds wrong with "top"; leaks are fine. `repairs`: as far as it cannot mend it.
    std::string findings(const Folder& files, bool repairs) const {
        for (const auto& [name, content] : files) {
            std::ofstream file(folder_ / name, std::ios::binary);
            file.write(reinterpret_cast<const char*>(content.data()),
                       static_cast<std::streamsize>(content.size()));
        }
        if (repairs) check("-r all");
        const int status = check("");
        if (status == 0 || status == 3) return {};
        return "qemu-img check: status " + std::to_string(status);
    }

  private:
    int check(const std::string& options) const {
        const std::string command =
            "cd '" + folder_.string() + "' && exec qemu-img check " + options + " top >/dev/null 2>&1";
        const int status = std::system(command.c_str());
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    std::filesystem::path folder_;
};

}  // namespace qimg::test
