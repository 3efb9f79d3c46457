// Entries of refcount blocks, of every width.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcount_entries.hpp"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "base/bytes.hpp"
#include "format/qcow2/geometry.hpp"

using namespace qimg;
using namespace qimg::qcow2;

TEST_CASE("a refcount of every width reads back and leaves its neighbours alone") {
    for (unsigned order = 0; order <= refcount_order_max; ++order) {
        CAPTURE(order);
        const std::uint64_t highest = Geometry(9, order, false).refcount_max();
        Bytes block(512);
        set_refcount(block, order, 3, highest);
        set_refcount(block, order, 4, highest);
        set_refcount(block, order, 3, 1);
        CHECK(get_refcount(block, order, 2) == 0);
        CHECK(get_refcount(block, order, 3) == 1);
        CHECK(get_refcount(block, order, 4) == highest);
        CHECK(get_refcount(block, order, 5) == 0);
    }
}

TEST_CASE("sub-byte refcounts count from the least significant bit") {
    Bytes block(512);
    set_refcount(block, 0, 0, 1);
    CHECK(block[0] == std::byte{0x01});
    set_refcount(block, 2, 1, 0xa);
    CHECK(block[0] == std::byte{0xa1});
}

TEST_CASE("searching and changing many entries does what doing so one by one would") {
    std::mt19937 random(20);
    for (unsigned order = 0; order <= refcount_order_max; ++order) {
        CAPTURE(order);
        const Geometry geometry(9, order, false);
        const std::uint64_t entries = geometry.refcount_block_entries();
        std::vector<std::uint64_t> model(entries);
        Bytes block(512);
        for (std::uint64_t i = 0; i < entries; ++i) {
            const unsigned kind = random() % 8;
            model[i] = kind == 0 ? geometry.refcount_max() : kind < 4 ? 0 : 1;
            set_refcount(block, order, i, model[i]);
        }
        for (int round = 0; round < 200; ++round) {
            EntryRange range{random() % entries, 0};
            range.end = range.first + random() % (entries - range.first + 1);
            const auto first = [&](auto matches) {
                std::uint64_t i = range.first;
                while (i < range.end && !matches(model[i]))
                    ++i;
                return i;
            };
            const auto is_zero = [](std::uint64_t count) { return count == 0; };
            const auto is_full = [&](std::uint64_t count) { return count == geometry.refcount_max(); };
            CHECK(find_zero_refcount(block, order, range) == first(is_zero));
            CHECK(find_used_refcount(block, order, range) ==
                  first([](std::uint64_t count) { return count != 0; }));
            CHECK(find_other_refcount(block, order, range, 1) ==
                  first([](std::uint64_t count) { return count != 1; }));
            const bool up = random() % 2 == 0;
            const std::uint64_t stop = up ? first(is_full) : first(is_zero);
            CHECK((up ? raise_refcounts(block, order, range) : lower_refcounts(block, order, range)) == stop);
            for (std::uint64_t i = range.first; i < stop; ++i)
                model[i] += up ? 1 : ~0ull;
            std::vector<std::uint64_t> decoded(entries);
            decode_refcounts(block, order, 0, decoded);
            CHECK(decoded == model);
        }
    }
}
