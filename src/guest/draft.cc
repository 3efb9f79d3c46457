// Pages that were written, ranges that were cleared, and the image below both.
// SPDX-License-Identifier: Apache-2.0
#include "guest/draft.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::guest {

namespace {

constexpr std::uint64_t page_bytes = 4096;
constexpr std::uint64_t memory_slots = Draft::memory_bytes_max / page_bytes;
using Page = std::array<std::byte, page_bytes>;

HostOffset place_in_file(std::uint64_t slot) {
    return HostOffset((slot < memory_slots ? slot : slot - memory_slots) * page_bytes);
}

}  // namespace

Draft::Draft(const Image& image, std::uint64_t bytes, OpenSpill spill)
    : image_(image), bytes_(bytes), open_spill_(std::move(spill)), memory_(memory_storage("draft")) {}

Result<void> Draft::check_range(std::uint64_t at, std::uint64_t bytes) const {
    if (fits_within(at, bytes, bytes_)) return {};
    return failf(ErrorKind::invalid_argument, "{} bytes at {:#x} go past the end of the {}-byte disk", bytes,
                 at, bytes_);
}

Result<void> Draft::read_image(std::uint64_t at, std::span<std::byte> into) const {
    const std::uint64_t inside =
        at < image_.size() ? std::min<std::uint64_t>(image_.size() - at, into.size()) : 0;
    if (inside != 0) TRY(image_.read(GuestOffset(at), into.first(inside)));
    std::ranges::fill(into.subspan(inside), std::byte{0});
    return {};
}

Result<void> Draft::read_page(Slot slot, std::uint64_t skip, std::span<std::byte> into) const {
    const Storage& storage = slot < memory_slots ? *memory_ : *spill_;
    return storage.read(place_in_file(slot) + skip, into);
}

Result<void> Draft::read(std::uint64_t start, std::span<std::byte> into) const {
    TRY(check_range(start, into.size()));
    const std::uint64_t end = start + into.size();
    for (std::uint64_t at = start; at < end;) {
        const auto page = pages_.lower_bound(at / page_bytes);
        std::uint64_t run_end = page == pages_.end() ? end : std::min(end, page->first * page_bytes);
        if (page != pages_.end() && page->first == at / page_bytes) {
            run_end = std::min(end, (page->first + 1) * page_bytes);
            TRY(read_page(page->second, at % page_bytes, into.subspan(at - start, run_end - at)));
            at = run_end;
            continue;
        }
        const auto next = zeroes_.upper_bound(at);
        const auto cleared = next == zeroes_.begin() ? zeroes_.end() : std::prev(next);
        const bool is_cleared = cleared != zeroes_.end() && at < cleared->second;
        if (is_cleared) {
            run_end = std::min(run_end, cleared->second);
            std::ranges::fill(into.subspan(at - start, run_end - at), std::byte{0});
        } else {
            if (next != zeroes_.end()) run_end = std::min(run_end, next->first);
            TRY(read_image(at, into.subspan(at - start, run_end - at)));
        }
        at = run_end;
    }
    return {};
}

Result<Storage*> Draft::spill() {
    if (!spill_) spill_ = TRY(open_spill_());
    return spill_.get();
}

Result<void> Draft::write_page(std::uint64_t page, std::span<const std::byte> content) {
    const auto known = pages_.find(page);
    const bool is_new = known == pages_.end();
    const Slot slot = !is_new ? known->second : !free_.empty() ? free_.back() : next_;
    Storage* storage = memory_.get();
    if (slot >= memory_slots) storage = TRY(spill());
    TRY(storage->write(place_in_file(slot), content));
    if (!is_new) return {};
    if (slot == next_) {
        ++next_;
    } else {
        free_.pop_back();
    }
    pages_.emplace(page, slot);
    return {};
}

// A part of a page, with what is around it now.
Result<void> Draft::write_inside(std::uint64_t page, std::uint64_t skip, std::span<const std::byte> from) {
    Page content{};
    const std::uint64_t start = page * page_bytes;
    TRY(read(start, std::span(content).first(std::min(page_bytes, bytes_ - start))));
    std::ranges::copy(from, content.begin() + static_cast<std::ptrdiff_t>(skip));
    return write_page(page, content);
}

Result<void> Draft::write(std::uint64_t start, std::span<const std::byte> from) {
    TRY(check_range(start, from.size()));
    const std::uint64_t end = start + from.size();
    for (std::uint64_t at = start; at < end;) {
        const std::uint64_t page = at / page_bytes;
        const std::uint64_t next = std::min(end, (page + 1) * page_bytes);
        const auto part = from.subspan(at - start, next - at);
        if (part.size() == page_bytes) {
            TRY(write_page(page, part));
        } else {
            TRY(write_inside(page, at % page_bytes, part));
        }
        at = next;
    }
    return {};
}

void Draft::forget_pages(std::uint64_t first, std::uint64_t end) {
    const auto from = pages_.lower_bound(first);
    const auto to = pages_.lower_bound(end);
    for (auto page = from; page != to; ++page)
        free_.push_back(page->second);
    pages_.erase(from, to);
}

void Draft::add_zeroes(std::uint64_t start, std::uint64_t end) {
    auto next = zeroes_.upper_bound(start);
    if (next != zeroes_.begin() && std::prev(next)->second >= start) {
        --next;
        start = next->first;
    }
    while (next != zeroes_.end() && next->first <= end) {
        end = std::max(end, next->second);
        next = zeroes_.erase(next);
    }
    zeroes_.emplace(start, end);
}

Result<void> Draft::write_zeroes(std::uint64_t start, std::uint64_t bytes) {
    TRY(check_range(start, bytes));
    const Page nothing{};
    const std::uint64_t end = start + bytes;
    const auto clear = [&](std::uint64_t from, std::uint64_t to) -> Result<void> {
        return from < to ? write(from, std::span(nothing).first(to - from)) : Result<void>();
    };
    const std::uint64_t first = std::min(end, round_up(start, page_bytes));
    // the last page may be cut short by the end of the disk
    const std::uint64_t last = end == bytes_ ? round_up(end, page_bytes) : round_down(end, page_bytes);
    TRY(clear(start, first));
    if (last <= first) return clear(first, end);
    forget_pages(first / page_bytes, last / page_bytes);
    add_zeroes(first, last);
    return clear(last, end);
}

std::vector<Change> Draft::changes() const {
    std::vector<Change> found;
    const auto add = [&](std::uint64_t start, std::uint64_t end, bool zeroes) {
        end = std::min(end, bytes_);
        if (start >= end) return;
        Change* const last = found.empty() ? nullptr : &found.back();
        if (last != nullptr && last->zeroes == zeroes && last->start + last->bytes == start) {
            last->bytes += end - start;
        } else {
            found.push_back({start, end - start, zeroes});
        }
    };
    auto page = pages_.begin();
    const auto add_pages_before = [&](std::uint64_t end) {
        for (; page != pages_.end() && page->first * page_bytes < end; ++page)
            add(page->first * page_bytes, (page->first + 1) * page_bytes, false);
    };
    for (const auto& [start, end] : zeroes_) {
        add_pages_before(start);
        std::uint64_t at = start;
        for (; page != pages_.end() && page->first * page_bytes < end; ++page) {
            add(at, page->first * page_bytes, true);
            add(page->first * page_bytes, (page->first + 1) * page_bytes, false);
            at = (page->first + 1) * page_bytes;
        }
        add(at, end, true);
    }
    add_pages_before(~0ull);
    return found;
}

}  // namespace qimg::guest
