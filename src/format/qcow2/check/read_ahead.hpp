// Reading many tables: in batches, neighbours at once, and the next batch while one is worked on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <utility>

#include "base/bytes.hpp"
#include "base/try.hpp"
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

struct Batch {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    Bytes bytes;  // of the tables that are there, one after the other
};

inline Result<Batch> read_batch(const Storage& storage, const TableList& list, std::uint64_t first,
                                Bytes buffer) {
    Batch batch{first, 0, std::move(buffer)};
    std::uint64_t present = 0;
    for (std::uint64_t i = first; i < list.count; ++i, ++batch.count) {
        if (!list.table_at(i)) continue;
        if (present != 0 && (present + 1) * list.bytes > batch_bytes) break;
        ++present;
    }
    batch.bytes.resize(present * list.bytes);
    std::uint64_t filled = 0;
    for (std::uint64_t i = first; i < first + batch.count;) {
        const std::optional<HostOffset> at = list.table_at(i++);
        if (!at) continue;
        std::uint64_t run_bytes = list.bytes;
        while (i < first + batch.count && list.table_at(i) == *at + run_bytes) {
            run_bytes += list.bytes;
            ++i;
        }
        TRY(storage.read(*at, std::span(batch.bytes).subspan(filled, run_bytes)));
        filled += run_bytes;
    }
    return batch;
}

}  // namespace detail

// Calls work(i, bytes) for each table in order; bytes is empty where there is none. `work` may change the
// bytes and the storage, but no table that comes later. Returns its errors and those of the storage.
template <class Work>
Result<void> read_ahead(const Storage& storage, const TableList& list, Work work) {
    if (list.count == 0) return {};
    const auto start = [&](std::uint64_t first, Bytes buffer) {
        // without a free thread the batch is read when it is asked for
        return std::async(std::launch::async | std::launch::deferred, detail::read_batch, std::cref(storage),
                          std::cref(list), first, std::move(buffer));
    };
    // nothing is worked on while the first batch is read, and most images have no other
    detail::Batch batch = TRY(detail::read_batch(storage, list, 0, {}));
    Bytes spare;
    for (;;) {
        const std::uint64_t end = batch.first + batch.count;
        std::future<Result<detail::Batch>> next;
        if (end < list.count) next = start(end, std::move(spare));
        std::uint64_t used = 0;
        for (std::uint64_t i = batch.first; i < end; ++i) {
            const bool present = list.table_at(i).has_value();
            const auto bytes = std::span(batch.bytes).subspan(used, present ? list.bytes : 0);
            used += bytes.size();
            TRY(work(i, bytes));
        }
        if (!next.valid()) return {};
        spare = std::move(batch.bytes);
        batch = TRY(next.get());
    }
}

}  // namespace qimg::qcow2
