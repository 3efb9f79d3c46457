// Reading many tables: in batches, neighbours at once, and the next batch while one is worked on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <vector>

#include "base/try.hpp"
#include "base/zeroed_memory.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

// `count` tables of `bytes` each; table_at(i) says where one is, or that there is none.
struct TableList {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    std::function<std::optional<HostOffset>(std::uint64_t)> table_at;
};

namespace detail {

inline constexpr std::uint64_t batch_bytes = 2 * MiB;
inline constexpr std::uint64_t piece_bytes = 256 * KiB;

// Tables that are read at once, piece by piece, by whoever has time.
class Batch {
  public:
    // Begins with the table `first`; what an older batch had is gone.
    void plan(const TableList& list, std::uint64_t first) {
        first_ = first;
        count_ = 0;
        pieces_.clear();
        next_piece_ = 0;
        std::uint64_t planned = 0;
        for (std::uint64_t i = first; i < list.count; ++i, ++count_) {
            const std::optional<HostOffset> at = list.table_at(i);
            if (!at) continue;
            if (planned != 0 && planned + list.bytes > batch_bytes) break;
            add(HostRange(*at, list.bytes));
            planned += list.bytes;
        }
        if (planned > memory_.size()) memory_ = ZeroedMemory(planned);
        bytes_ = std::span(memory_.data(), planned);
    }

    // Reads pieces that nobody else has begun. Several threads may do so.
    Result<void> read(const Storage& storage) {
        for (;;) {
            const std::size_t i = next_piece_.fetch_add(1);
            if (i >= pieces_.size()) return {};
            const HostRange& place = pieces_[i].place;
            TRY(storage.read(place.start, bytes_.subspan(pieces_[i].at, place.length)));
        }
    }

    std::uint64_t first() const { return first_; }
    std::uint64_t end() const { return first_ + count_; }
    // Of the tables that are there, one after the other.
    std::span<std::byte> bytes() { return bytes_; }

  private:
    struct Piece {
        HostRange place;
        std::uint64_t at = 0;  // in bytes_
    };

    void add(HostRange table) {
        const std::uint64_t at = pieces_.empty() ? 0 : pieces_.back().at + pieces_.back().place.length;
        const bool joins = !pieces_.empty() && pieces_.back().place.end() == table.start &&
                           pieces_.back().place.length + table.length <= piece_bytes;
        if (joins) {
            pieces_.back().place.length += table.length;
        } else {
            pieces_.push_back({table, at});
        }
    }

    std::uint64_t first_ = 0;
    std::uint64_t count_ = 0;
    std::vector<Piece> pieces_;
    std::atomic<std::size_t> next_piece_ = 0;
    ZeroedMemory memory_;
    std::span<std::byte> bytes_;
};

// Calls work(i, bytes) for each table of the batch.
template <class Work>
Result<void> work_on(Batch& batch, const TableList& list, Work& work) {
    std::uint64_t used = 0;
    for (std::uint64_t i = batch.first(); i < batch.end(); ++i) {
        const bool present = list.table_at(i).has_value();
        const auto bytes = batch.bytes().subspan(used, present ? list.bytes : 0);
        used += bytes.size();
        TRY(work(i, bytes));
    }
    return {};
}

}  // namespace detail

// Calls work(i, bytes) for each table in order; bytes is empty where there is none. `work` may change the
// bytes and the storage, but no table that comes later. Returns its errors and those of the storage.
template <class Work>
Result<void> read_ahead(const Storage& storage, const TableList& list, Work work) {
    std::array<detail::Batch, 2> batches;
    // nothing is worked on while the first batch is read, and most images have no other
    batches[0].plan(list, 0);
    TRY(batches[0].read(storage));
    for (unsigned current = 0;; current = 1 - current) {
        detail::Batch& batch = batches[current];
        if (batch.end() == list.count) return detail::work_on(batch, list, work);
        detail::Batch& next = batches[1 - current];
        next.plan(list, batch.end());
        // without a free thread all of it is read below
        auto helper = std::async(std::launch::async | std::launch::deferred, &detail::Batch::read, &next,
                                 std::cref(storage));
        TRY(detail::work_on(batch, list, work));
        // reading takes longer than most work: both threads do it
        const Result<void> read = next.read(storage);
        const Result<void> read_by_helper = helper.get();
        TRY(read);
        TRY(read_by_helper);
    }
}

}  // namespace qimg::qcow2
