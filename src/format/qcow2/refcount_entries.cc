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
        std::uint64_t i = range.first;
        while (i < range.end && entries.get(i) != 0)
            ++i;
        return i;
    });
}

std::uint64_t find_used_refcount(std::span<const std::byte> block, unsigned order, EntryRange range) {
    return with_entries(block, order, [&](const auto& entries) {
        std::uint64_t i = range.first;
        while (i < range.end && entries.get(i) == 0)
            ++i;
        return i;
    });
}

std::uint64_t raise_refcounts(std::span<std::byte> block, unsigned order, EntryRange range) {
    return with_entries(block, order, [&](const auto& entries) {
        std::uint64_t i = range.first;
        for (; i < range.end; ++i) {
            const std::uint64_t count = entries.get(i);
            if (count == entries.max()) break;
            entries.set(i, count + 1);
        }
        return i;
    });
}

std::uint64_t lower_refcounts(std::span<std::byte> block, unsigned order, EntryRange range) {
    return with_entries(block, order, [&](const auto& entries) {
        std::uint64_t i = range.first;
        for (; i < range.end; ++i) {
            const std::uint64_t count = entries.get(i);
            if (count == 0) break;
            entries.set(i, count - 1);
        }
        return i;
    });
}

}  // namespace qimg::qcow2
