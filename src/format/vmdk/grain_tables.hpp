// The grain tables of an image: read when they are asked for, changed in memory, written when told to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "format/vmdk/header.hpp"
#include "qimg/storage.hpp"

namespace qimg::vmdk {

// As the file has it: the sector of each grain, entry_none or entry_zeroed.
using Table = std::vector<std::uint32_t>;

class GrainTables {
  public:
    static constexpr std::size_t cached_max = 256;  // 2 KiB each, for 32 MiB of the disk
    static constexpr std::size_t changed_max = 4096;

    // Both must stay as they are while the tables are in use.
    GrainTables(const Storage& storage, const Header& header) : storage_(storage), header_(header) {}
    // Reads the directory, before anything else is asked, and again when it is another one. Errors: those of the
    // storage; corrupt for more tables than the file has room for.
    Result<void> load_directory();

    bool is_missing(std::uint64_t number) const { return directory_[number] == disk::entry_none; }
    // The table with this number; null where the directory has none. Thread-safe while nobody changes any.
    // Errors: corrupt for one that is not inside the file.
    Result<std::shared_ptr<const Table>> read(std::uint64_t number) const;

    // Reads the redundant directory, too. Errors: unsupported when a table is missing, or not inside the file, or not
    // behind the one before, or overlaps another structure: changing an entry could change something else.
    Result<void> prepare_changes();
    // True where the header, the descriptor, a directory or a table lies. After prepare_changes().
    bool occupy(HostRange range) const;
    // The sectors of all tables; of the copies, none where there are none. After prepare_changes().
    const std::vector<std::uint32_t>& directory() const { return directory_; }
    const std::vector<std::uint32_t>& redundant_directory() const { return redundant_; }
    // To be written later. There must be such a table.
    Result<void> set(std::uint64_t number, std::uint32_t entry, std::uint32_t value);
    bool are_many_changed() const { return changed_.size() >= changed_max; }
    bool are_any_changed() const { return !changed_.empty(); }
    // Writes what was changed, the copies first; nothing is flushed.
    Result<void> write(Storage& storage);

  private:
    Result<HostOffset> place_of(std::uint64_t number) const;
    bool find_structures();

    const Storage& storage_;
    const Header& header_;
    std::vector<std::uint32_t> directory_;
    std::vector<std::uint32_t> redundant_;
    std::vector<HostRange> structures_;  // by offset, as far as they touch in one
    std::map<std::uint64_t, std::shared_ptr<Table>> changed_;
    mutable std::mutex mutex_;
    mutable std::map<std::uint64_t, std::shared_ptr<const Table>> cache_;
};

}  // namespace qimg::vmdk
