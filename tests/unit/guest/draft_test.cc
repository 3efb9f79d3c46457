// A disk as it is to become, against a plain vector.
// SPDX-License-Identifier: Apache-2.0
#include "guest/draft.hpp"

#include <doctest/doctest.h>

#include <random>

#include "base/bytes.hpp"
#include "format/raw/raw.hpp"

using namespace qimg;
using namespace qimg::guest;

namespace {

std::unique_ptr<Image> image_of(const Bytes& content) {
    auto file = memory_storage();
    REQUIRE(file->write(HostOffset(0), content));
    return std::make_unique<Image>("disk", raw::open(std::move(file), {}).value(), nullptr);
}

Result<std::unique_ptr<Storage>> open_memory() {
    return memory_storage("spill");
}

Bytes pattern(std::size_t bytes, unsigned seed) {
    std::minstd_rand random(seed);
    Bytes content(bytes);
    for (std::byte& byte : content)
        byte = static_cast<std::byte>(random() >> 8);
    return content;
}

Bytes content_of(const Draft& draft) {
    Bytes content(draft.size());
    REQUIRE(draft.read(0, content));
    return content;
}

// Every difference lies in a change, and what a change calls zeroes is zero.
void check_changes(const Draft& draft, const Bytes& before, const Bytes& after) {
    std::uint64_t at = 0;
    for (const Change& change : draft.changes()) {
        REQUIRE(change.start >= at);
        REQUIRE(change.bytes > 0);
        for (; at < change.start; ++at)
            REQUIRE(after[at] == (at < before.size() ? before[at] : std::byte{0}));
        at = change.start + change.bytes;
        REQUIRE(at <= after.size());
        if (change.zeroes) REQUIRE(is_zero(std::span(after).subspan(change.start, change.bytes)));
    }
}

}  // namespace

TEST_CASE("random writes and zeroes read back, and the image stays as it is") {
    for (unsigned seed = 1; seed <= 20; ++seed) {
        std::minstd_rand random(seed);
        const Bytes before = pattern(50'000 + random() % 30'000, seed);
        const auto image = image_of(before);
        Bytes model = before;
        model.resize(before.size() + random() % 40'000);
        Draft draft(*image, model.size(), open_memory);
        for (int step = 0; step < 60; ++step) {
            const std::size_t at = random() % model.size();
            const std::size_t bytes = random() % std::min<std::size_t>(model.size() - at, 20'000) + 1;
            const auto part = std::span(model).subspan(at, std::min(bytes, model.size() - at));
            if (step % 3 == 0) {
                std::ranges::fill(part, std::byte{0});
                REQUIRE(draft.write_zeroes(at, part.size()));
            } else {
                std::ranges::copy(pattern(part.size(), seed + static_cast<unsigned>(step)), part.begin());
                REQUIRE(draft.write(at, part));
            }
        }
        CHECK(content_of(draft) == model);
        check_changes(draft, before, model);
        Bytes kept(before.size());
        REQUIRE(image->read(GuestOffset(0), kept));
        CHECK(kept == before);
    }
}

TEST_CASE("what is too much for memory goes to the file, and its places are used again") {
    const auto image = image_of(Bytes(4096));
    Storage* spill = nullptr;
    Draft draft(*image, 64 * MiB, [&]() -> Result<std::unique_ptr<Storage>> {
        auto file = memory_storage("spill");
        spill = file.get();
        return file;
    });
    const Bytes content = pattern(Draft::memory_bytes_max + 3 * MiB, 7);
    REQUIRE(draft.write(100, content));
    REQUIRE(spill != nullptr);
    Bytes back(content.size());
    REQUIRE(draft.read(100, back));
    CHECK(back == content);
    const std::uint64_t held = spill->size().value();
    REQUIRE(draft.write_zeroes(0, 30 * MiB));
    REQUIRE(draft.write(20 * MiB, std::span(content).first(MiB)));
    CHECK(spill->size().value() == held);
    REQUIRE(draft.changes().size() == 3);
}

TEST_CASE("zeroes cost nothing, and nothing lies past the end") {
    const auto image = image_of(Bytes(512));
    Draft draft(*image, 1ull << 50, open_memory);
    REQUIRE(draft.write_zeroes(0, 1ull << 50));
    REQUIRE(draft.changes().size() == 1);
    CHECK(draft.changes()[0].zeroes);
    Bytes one(1);
    CHECK(draft.write(1ull << 50, one).error().kind == ErrorKind::invalid_argument);
    CHECK(draft.read(~0ull, one).error().kind == ErrorKind::invalid_argument);
}
