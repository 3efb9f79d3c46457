// A longer disk: tables for what is added go behind everything, and so do directories that lead to old and new ones;
// then one sector, the header, leads to those.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/vmdk/vmdk.hpp"

namespace qimg::vmdk {

namespace {

// A directory, and the tables that it is to have more than the old one, which are empty.
class LongerDirectory {
  public:
    LongerDirectory(const std::vector<std::uint32_t>& old, std::uint64_t tables, std::uint64_t table_bytes)
        : old_(old), tables_(tables), step_(round_up(table_bytes, sector_bytes)) {}

    std::uint64_t bytes() const { return own_bytes() + (tables_ - old_.size()) * step_; }

    // Where there are zeroes so far.
    Result<void> write(Storage& storage, HostOffset at) const {
        Bytes entries(own_bytes());
        HostOffset next = at + own_bytes();
        for (std::uint64_t i = 0; i < tables_; ++i) {
            const bool is_old = i < old_.size();
            const auto sector = is_old ? old_[i] : static_cast<std::uint32_t>(next.bytes / sector_bytes);
            store(std::span(entries).subspan(i * sizeof(disk::Entry)), disk::Entry(sector));
            if (!is_old) next += step_;
        }
        return storage.write(at, entries);
    }

  private:
    std::uint64_t own_bytes() const { return round_up(tables_ * sizeof(disk::Entry), sector_bytes); }

    const std::vector<std::uint32_t>& old_;
    std::uint64_t tables_;
    std::uint64_t step_;
};

}  // namespace

Result<void> Vmdk::check_can_grow(std::uint64_t bytes) const {
    if (header_.compressed) {
        return fail(
            ErrorKind::unsupported,
            "A streamOptimized image takes each grain once; `qimg convert` makes a monolithicSparse one");
    }
    if (divide_up(bytes, header_.table_reach_bytes()) <= tables_max) return {};
    return fail(ErrorKind::no_space, "The image size is too large for file format 'vmdk'", EFBIG);
}

// Guests never saw that part of the last grain, nor what the last table may say about grains behind it.
Result<void> Vmdk::clear_behind_end() {
    if (header_.size == 0) return {};
    const Place end = place_of(GuestOffset(header_.size - 1));
    const auto table = TRY(tables_.read(end.table));
    for (std::uint32_t i = end.entry + 1; i < table->size(); ++i) {
        if ((*table)[i] != disk::entry_none) TRY(tables_.set(end.table, i, disk::entry_none));
    }
    const std::uint64_t inside = header_.size % header_.grain_bytes;
    if (inside == 0) return {};
    const Grain last = TRY(grain_at(GuestOffset(header_.size - inside)));
    if (last.kind != MappingKind::data) return {};
    if (!may_write_in_place(last)) {
        return failf(ErrorKind::corrupt, "{}: the disk's last grain lies where tables are",
                     printable(storage_->name()));
    }
    return storage_->write_zeroes(HostRange(last.host + inside, header_.grain_bytes - inside));
}

Result<void> Vmdk::write_longer_directories(std::uint64_t tables, disk::Header& header) {
    const auto add = [&](const std::vector<std::uint32_t>& old) -> Result<std::uint64_t> {
        const LongerDirectory longer(old, tables, header_.table_bytes());
        const HostOffset at = TRY(allocate(round_up(longer.bytes(), header_.grain_bytes)));
        TRY(storage_->resize(free_.bytes));
        TRY(longer.write(*storage_, at));
        return at.bytes / sector_bytes;
    };
    if (header_.redundant_directory) header.redundant_directory = TRY(add(tables_.redundant_directory()));
    header.directory = TRY(add(tables_.directory()));
    return {};
}

// For people and for programs that read no header; it goes first, as they notice a file that is too short.
Result<void> Vmdk::write_extent_length(std::uint64_t bytes) {
    Bytes raw(header_.descriptor.length);
    TRY(storage_->read(header_.descriptor.start, raw));
    const std::string_view old = text_of(raw).substr(0, text_of(raw).find('\0'));
    const std::string_view digits = extent_digits(old);
    if (digits.empty()) return {};
    const auto before = static_cast<std::size_t>(digits.data() - old.data());
    std::string text = fmt::format("{}{}{}", old.substr(0, before), bytes / sector_bytes,
                                   old.substr(before + digits.size()));
    const std::uint64_t whole = round_up(std::max(text.size(), old.size()), sector_bytes);
    if (whole > header_.descriptor.length) {
        return failf(ErrorKind::no_space, "{}: there is no room in its descriptor",
                     printable(storage_->name()));
    }
    text.resize(whole);
    return storage_->write(header_.descriptor.start, bytes_of(text));
}

Result<void> Vmdk::grow(std::uint64_t bytes) {
    TRY(check_can_grow(bytes));
    TRY(prepare_writing(GuestRange()));
    TRY(clear_behind_end());
    TRY(flush());
    std::array<std::byte, sizeof(disk::Header)> raw;
    TRY(storage_->read(HostOffset(0), raw));
    auto header = load<disk::Header>(raw);
    const std::uint64_t tables = divide_up(bytes, header_.table_reach_bytes());
    if (tables > header_.tables()) TRY(write_longer_directories(tables, header));
    TRY(write_extent_length(bytes));
    TRY(storage_->flush());
    header.capacity = bytes / sector_bytes;
    TRY(storage_->write(HostOffset(0), std::as_bytes(std::span(&header, 1))));
    TRY(storage_->flush());
    header_ = TRY(read_header(*storage_));
    file_bytes_ = TRY(storage_->size());
    TRY(tables_.load_directory());
    return tables_.prepare_changes();
}

}  // namespace qimg::vmdk
