// A sandbox's folder: which files it has, one program at a time in it, and its removal. Knows names and
// files; nothing of what is in them but the record.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/fd.hpp"
#include "qimg/error.hpp"
#include "vm/record.hpp"

namespace qimg::vm {

// A name that is good for a folder and for libvirt: [A-Za-z0-9][A-Za-z0-9._-]*, at most 64 bytes.
Result<void> check_name(const std::string& name);

// The connection and the folder of `place` or their defaults; the folder absolute.
Place resolve(const Place& place);

class SandboxFolder {
  public:
    SandboxFolder(const std::string& parent, const std::string& name) : path_(parent + "/" + name) {}

    const std::string& path() const { return path_; }
    // The folder that holds all sandboxes.
    std::string place() const { return path_.substr(0, path_.rfind('/')); }
    std::string disk() const { return path_ + "/disk.qcow2"; }
    std::string fresh_disk() const { return path_ + "/disk.qcow2.new"; }
    std::string seed() const { return path_ + "/seed.iso"; }
    std::string domain() const { return path_ + "/domain.xml"; }
    std::string record() const { return path_ + "/vmbox.json"; }
    std::string console_log() const { return path_ + "/console.log"; }

    // Nothing has the folder's name yet. Errors: exists, with the ways to go on.
    Result<void> check_free() const;
    // Makes the folder and those above it. Errors: exists.
    Result<void> create() const;
    // Errors: not_found when there is no sandbox of that name, corrupt.
    Result<Record> read_record() const;
    Result<void> write_record(const Record& record) const;
    Result<void> write_domain(const std::string& xml) const;
    // Held as long as the Fd lives. Errors: in_use while another program works on the sandbox.
    Result<Fd> lock() const;
    // Entries that no sandbox has. Errors: not_found; invalid_argument for something that is no folder.
    Result<std::vector<std::string>> foreign_entries() const;
    // Removes the folder with all that is in it, but follows no symbolic link.
    Result<void> remove() const;

  private:
    std::string path_;
};

// Names of the sandboxes in a folder, sorted: the folders with a record. None where there is no folder.
std::vector<std::string> sandbox_names(const std::string& parent);

// Removes a folder that is being made unless it was completed.
class Rollback {
  public:
    explicit Rollback(const SandboxFolder& folder) : folder_(&folder) {}
    Rollback(const Rollback&) = delete;
    Rollback& operator=(const Rollback&) = delete;
    ~Rollback() {
        if (folder_) static_cast<void>(folder_->remove());
    }
    void complete() { folder_ = nullptr; }

  private:
    const SandboxFolder* folder_;
};

// The whole of a small text file. Errors: not_found, no_space above `limit` bytes, io.
Result<std::string> read_text(const std::string& path, std::uint64_t limit);

}  // namespace qimg::vm
