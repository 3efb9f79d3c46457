// Reading, changing and writing grain tables.
// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/grain_tables.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vmdk {

namespace {

Result<std::vector<std::uint32_t>> read_entries(const Storage& storage, HostOffset at, std::uint64_t count) {
    Bytes bytes(count * sizeof(disk::Entry));
    TRY(storage.read(at, bytes));
    std::vector<std::uint32_t> entries(count);
    for (std::size_t i = 0; i < count; ++i)
        entries[i] = load<disk::Entry>(std::span(bytes).subspan(i * sizeof(disk::Entry)));
    return entries;
}

Result<void> write_entries(Storage& storage, HostOffset at, const Table& entries) {
    Bytes bytes(entries.size() * sizeof(disk::Entry));
    for (std::size_t i = 0; i < entries.size(); ++i)
        store(std::span(bytes).subspan(i * sizeof(disk::Entry)), disk::Entry(entries[i]));
    return storage.write(at, bytes);
}

HostOffset place(std::uint32_t sector) {
    return HostOffset(sector * sector_bytes);
}

// Every table inside the file, each behind the one before: so no two are the same.
bool are_in_order(const std::vector<std::uint32_t>& directory, const Header& header,
                  std::uint64_t file_bytes) {
    HostOffset free(sizeof(disk::Header));
    for (const std::uint32_t sector : directory) {
        if (place(sector) < free) return false;
        free = place(sector) + header.table_bytes();
    }
    return free.bytes <= file_bytes;
}

}  // namespace

Result<void> GrainTables::load_directory() {
    cache_.clear();
    directory_ = TRY(read_entries(storage_, header_.directory, header_.tables()));
    // so that the work of going through all of them is bounded by the file
    const std::uint64_t file_bytes = TRY(storage_.size());
    const auto missing = std::count(directory_.begin(), directory_.end(), disk::entry_none);
    const std::uint64_t tables = directory_.size() - static_cast<std::uint64_t>(missing);
    if (tables * header_.table_bytes() <= file_bytes) return {};
    return failf(ErrorKind::corrupt, "The grain directory leads to {} tables, more than fit the file",
                 tables);
}

Result<HostOffset> GrainTables::place_of(std::uint64_t number) const {
    const HostOffset at = place(directory_[number]);
    const std::uint64_t file_bytes = TRY(storage_.size());
    if (fits_within(at.bytes, header_.table_bytes(), file_bytes)) return at;
    return failf(ErrorKind::corrupt, "{}: grain table {} at {:#x} is not inside the file of {} bytes",
                 printable(storage_.name()), number, at.bytes, file_bytes);
}

Result<std::shared_ptr<const Table>> GrainTables::read(std::uint64_t number) const {
    if (is_missing(number)) return nullptr;
    if (const auto changed = changed_.find(number); changed != changed_.end()) return changed->second;
    const std::lock_guard lock(mutex_);
    if (const auto cached = cache_.find(number); cached != cache_.end()) return cached->second;
    const HostOffset at = TRY(place_of(number));
    auto entries = TRY(read_entries(storage_, at, header_.entries_per_table));
    auto table = std::make_shared<const Table>(std::move(entries));
    // disks are mostly read from front to back
    if (cache_.size() >= cached_max) cache_.erase(cache_.begin());
    cache_.emplace(number, table);
    return table;
}

Result<void> GrainTables::prepare_changes() {
    if (header_.redundant_directory)
        redundant_ = TRY(read_entries(storage_, *header_.redundant_directory, header_.tables()));
    const std::uint64_t file_bytes = TRY(storage_.size());
    const bool in_order =
        are_in_order(directory_, header_, file_bytes) && are_in_order(redundant_, header_, file_bytes);
    if (in_order && find_structures()) return {};
    return failf(ErrorKind::unsupported,
                 "{}: can only be read: its grain tables are not all there, or not one behind the other",
                 printable(storage_.name()));
}

// False when two of them overlap.
bool GrainTables::find_structures() {
    structures_.clear();
    const auto add = [&](HostOffset at, std::uint64_t bytes) {
        const bool goes_on = !structures_.empty() && structures_.back().end() == at;
        if (goes_on)
            structures_.back().length += bytes;
        else
            structures_.push_back(HostRange(at, bytes));
    };
    const std::uint64_t directory_bytes = header_.tables() * sizeof(disk::Entry);
    add(HostOffset(0), sizeof(disk::Header));
    add(header_.descriptor.start, header_.descriptor.length);
    add(header_.directory, directory_bytes);
    for (const std::uint32_t sector : directory_)
        add(place(sector), header_.table_bytes());
    if (header_.redundant_directory) add(*header_.redundant_directory, directory_bytes);
    for (const std::uint32_t sector : redundant_)
        add(place(sector), header_.table_bytes());
    std::ranges::sort(structures_, {}, &HostRange::start);
    return std::ranges::adjacent_find(structures_, [](const HostRange& one, const HostRange& next) {
               return next.start < one.end();
           }) == structures_.end();
}

bool GrainTables::occupy(HostRange range) const {
    const auto next = std::ranges::upper_bound(structures_, range.end() - 1, {}, &HostRange::start);
    return next != structures_.begin() && std::prev(next)->end() > range.start;
}

Result<void> GrainTables::set(std::uint64_t number, std::uint32_t entry, std::uint32_t value) {
    auto changed = changed_.find(number);
    if (changed == changed_.end()) {
        const auto there = TRY(read(number));
        if (!there)
            return failf(ErrorKind::corrupt, "{}: there is no grain table {}", printable(storage_.name()),
                         number);
        changed = changed_.emplace(number, std::make_shared<Table>(*there)).first;
    }
    (*changed->second)[entry] = value;
    return {};
}

Result<void> GrainTables::write(Storage& storage) {
    for (const auto& [number, table] : changed_) {
        if (!redundant_.empty()) TRY(write_entries(storage, place(redundant_[number]), *table));
        TRY(write_entries(storage, place(directory_[number]), *table));
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [number, table] : changed_)
        cache_.erase(number);
    changed_.clear();
    return {};
}

}  // namespace qimg::vmdk
