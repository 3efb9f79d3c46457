// L2 tables in memory: the recently read ones, and the changed ones until they are written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "format/qcow2/l2_entry.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

// One table as the file has it; entries are decoded when asked for.
class L2Table {
  public:
    explicit L2Table(const Geometry& geometry)
        : bytes_(geometry.cluster_bytes()), entry_bytes_(geometry.l2_entry_bytes()) {}

    L2Entry get(std::uint64_t index) const {
        const auto at = std::span(bytes_).subspan(index * entry_bytes_);
        return L2Entry{load<be64>(at), entry_bytes_ == 16 ? +load<be64>(at.subspan(8)) : 0};
    }
    void set(std::uint64_t index, const L2Entry& entry) {
        const auto at = std::span(bytes_).subspan(index * entry_bytes_);
        store(at, be64(entry.word));
        if (entry_bytes_ == 16) store(at.subspan(8), be64(entry.bitmap));
    }

    // How many entries behind `index`, before `end`, go on as that one does: standard ones with the same flags and
    // the next host clusters, or without a host cluster and all the same. None where entries are extended.
    std::uint64_t count_continuing(const Geometry& geometry, std::uint64_t index, std::uint64_t end) const;

    // Gives `count` entries from `first` on the copied flag, or `flag` 0: takes it. True when one differed.
    bool set_copied(std::uint64_t first, std::uint64_t count, std::uint64_t flag);

    std::span<std::byte> bytes() { return bytes_; }
    std::span<const std::byte> bytes() const { return bytes_; }
    std::uint64_t entry_bytes() const { return entry_bytes_; }

  private:
    Bytes bytes_;
    std::uint64_t entry_bytes_;
};

class L2Cache {
  public:
    L2Cache(Storage& storage, const Geometry& geometry) : storage_(storage), geometry_(geometry) {}

    // The table at `at`, from memory or the file. Thread-safe.
    Result<std::shared_ptr<const L2Table>> read(HostOffset at) const;
    // The same for changing it; call set_entry or insert_new afterwards so that it gets written.
    Result<std::shared_ptr<L2Table>> read_for_writing(HostOffset at);
    // A table that the file does not have yet.
    void insert_new(HostOffset at, const std::shared_ptr<L2Table>& table);
    void set_entry(HostOffset at, const std::shared_ptr<L2Table>& table, std::uint64_t index,
                   const L2Entry& entry);
    // `count` entries from `first` on were set in the table itself.
    void mark_changed(HostOffset at, const std::shared_ptr<L2Table>& table, std::uint64_t first,
                      std::uint64_t count);
    // Forgets a table that is not in use any more, changed or not.
    void drop(HostOffset at);
    void drop_all();

    bool is_dirty() const { return !dirty_.empty(); }
    bool is_changed(HostOffset at) const { return dirty_.contains(at.bytes); }
    // True when so many tables wait to be written that it is time to do so.
    bool is_full() const { return dirty_.size() * geometry_.cluster_bytes() >= dirty_bytes_max; }
    // Changed tables to the file, in the order of their offsets.
    Result<void> write_dirty();

  private:
    static constexpr std::uint64_t clean_bytes_max = 32 * MiB;
    static constexpr std::uint64_t write_bytes_max = 1 * MiB;  // of neighbours written at once
    static constexpr std::uint64_t dirty_bytes_max = 32 * MiB;

    struct Slot {
        std::shared_ptr<L2Table> table;
        std::list<std::uint64_t>::iterator recency;
    };
    struct DirtyTable {
        std::shared_ptr<L2Table> table;
        std::uint64_t first = 0;  // changed bytes: [first, end)
        std::uint64_t end = 0;
    };

    Result<std::shared_ptr<L2Table>> lookup(HostOffset at) const;
    void remember(HostOffset at, std::shared_ptr<L2Table> table) const;

    Storage& storage_;
    Geometry geometry_;
    mutable std::mutex mutex_;  // guards the two below: reading fills them
    mutable std::unordered_map<std::uint64_t, Slot> tables_;
    mutable std::list<std::uint64_t> recent_;  // offsets, the latest first
    std::map<std::uint64_t, DirtyTable> dirty_;
};

}  // namespace qimg::qcow2
