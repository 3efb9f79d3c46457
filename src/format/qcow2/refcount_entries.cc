// One loop for each task, compiled for each width.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcount_entries.hpp"

#include <limits>

#include "base/endian.hpp"

namespace qimg::qcow2 {

namespace {

// Entries of whole bytes. `Byte` is const for those that are only read.
template <std::unsigned_integral Value, class Byte>
class WordEntries {
  public:
    explicit WordEntries(std::span<Byte> block) : block_(block) {}
    static constexpr std::uint64_t max() { return std::numeric_limits<Value>::max(); }

    std::uint64_t get(std::uint64_t index) const {
        return load<Field<Value, std::endian::big>>(block_.subspan(index * sizeof(Value)));
    }
    void set(std::uint64_t index, std::uint64_t value) const {
        store(block_.subspan(index * sizeof(Value)),
              Field<Value, std::endian::big>(static_cast<Value>(value)));
    }

  private:
    std::span<Byte> block_;
};

// Entries of 1, 2 or 4 bits.
template <class Byte>
class BitEntries {
  public:
    BitEntries(std::span<Byte> block, unsigned order) : block_(block), order_(order) {}
    std::uint64_t max() const { return (1u << (1u << order_)) - 1; }

    std::uint64_t get(std::uint64_t index) const {
        const std::uint64_t bit = index << order_;
        return std::to_integer<std::uint64_t>(block_[bit / 8]) >> bit % 8 & max();
    }
    void set(std::uint64_t index, std::uint64_t value) const {
        const std::uint64_t bit = index << order_;
        const auto mask = static_cast<std::byte>(max() << bit % 8);
        Byte& place = block_[bit / 8];
        place = (place & ~mask) | (static_cast<std::byte>(value << bit % 8) & mask);
    }

  private:
    std::span<Byte> block_;
    unsigned order_;
};

template <class Byte, class Task>
auto with_entries(std::span<Byte> block, unsigned order, const Task& task) {
    switch (order) {
        case 3:
            return task(WordEntries<std::uint8_t, Byte>(block));
        case 4:
            return task(WordEntries<std::uint16_t, Byte>(block));
        case 5:
            return task(WordEntries<std::uint32_t, Byte>(block));
        case 6:
            return task(WordEntries<std::uint64_t, Byte>(block));
        default:
            return task(BitEntries<Byte>(block, order));
    }
}

// The first entry of the range with a refcount that passes the test; the range's end when there is none. Whole
// groups are looked at without a decision at each entry, which processors do several at a time.
template <class Entries, class Test>
std::uint64_t find_first(const Entries& entries, EntryRange range, const Test& test) {
    constexpr std::uint64_t group = 32;
    std::uint64_t i = range.first;
    for (; i + group <= range.end; i += group) {
        bool any = false;
        for (std::uint64_t k = 0; k < group; ++k)
            any |= test(entries.get(i + k));
        if (any) break;
    }
    while (i < range.end && !test(entries.get(i)))
        ++i;
    return i;
}

// Adds to each entry of the range before the first that is `last`, and returns where that is, or the range's end.
template <class Entries>
std::uint64_t add_to_each(const Entries& entries, EntryRange range, std::uint64_t last,
                          std::uint64_t summand) {
    const std::uint64_t end =
        find_first(entries, range, [last](std::uint64_t count) { return count == last; });
    for (std::uint64_t i = range.first; i < end; ++i)
        entries.set(i, entries.get(i) + summand);
    return end;
}

}  // namespace

std::uint64_t get_refcount(std::span<const std::byte> block, unsigned order, std::uint64_t index) {
    return with_entries(block, order, [&](const auto& entries) { return entries.get(index); });
}

void set_refcount(std::span<std::byte> block, unsigned order, std::uint64_t index, std::uint64_t value) {
    with_entries(block, order, [&](const auto& entries) { entries.set(index, value); });
}

void decode_refcounts(std::span<const std::byte> block, unsigned order, std::uint64_t first,
                      std::span<std::uint64_t> counts) {
    with_entries(block, order, [&](const auto& entries) {
        for (std::size_t i = 0; i < counts.size(); ++i)
            counts[i] = entries.get(first + i);
    });
}

void encode_refcounts(std::span<std::byte> block, unsigned order, std::uint64_t first,
                      std::span<const std::uint16_t> counts) {
    with_entries(block, order, [&](const auto& entries) {
        for (std::size_t i = 0; i < counts.size(); ++i)
            entries.set(first + i, counts[i]);
    });
}

std::uint64_t find_zero_refcount(std::span<const std::byte> block, unsigned order, EntryRange range) {
    return with_entries(block, order, [&](const auto& entries) {
        return find_first(entries, range, [](std::uint64_t count) { return count == 0; });
    });
}

std::uint64_t find_used_refcount(std::span<const std::byte> block, unsigned order, EntryRange range) {
    return find_other_refcount(block, order, range, 0);
}

std::uint64_t find_other_refcount(std::span<const std::byte> block, unsigned order, EntryRange range,
                                  std::uint64_t than) {
    return with_entries(block, order, [&](const auto& entries) {
        return find_first(entries, range, [than](std::uint64_t count) { return count != than; });
    });
}

std::uint64_t raise_refcounts(std::span<std::byte> block, unsigned order, EntryRange range) {
    return with_entries(block, order,
                        [&](const auto& entries) { return add_to_each(entries, range, entries.max(), 1); });
}

std::uint64_t lower_refcounts(std::span<std::byte> block, unsigned order, EntryRange range) {
    return with_entries(
        block, order, [&](const auto& entries) { return add_to_each(entries, range, 0, ~std::uint64_t{0}); });
}

}  // namespace qimg::qcow2
