// What is noticed about a base that changed under its overlays, and what is no more than a hint.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/pins.hpp"

#include <doctest/doctest.h>

#include "format/qcow2/resize.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "qimg/operations/commit.hpp"
#include "qimg/operations/rebase.hpp"
#include "support/memory_chain.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

// A base with data in its first half, and an overlay that pins it.
struct Pinned {
    MemoryChain chain;

    explicit Pinned(PinMode mode, std::uint64_t bytes = MiB) {
        chain.add("base", bytes);
        chain.write("base", 0, bytes / 2, 1);
        chain.add("top", bytes, "base");
        pin("top", "base", mode);
    }
    void pin(const std::string& overlay, const std::string& base, PinMode mode) {
        RebaseOptions options;
        options.path = overlay;
        options.unsafe = true;
        options.backing = NewBacking{base, "qcow2", {base, {}}};
        options.pin = mode;
        REQUIRE(rebase(options, chain));
    }
    PinReport report(bool content = true) {
        const auto reports = check_pins({"top", {}, content}, chain);
        REQUIRE_MESSAGE(reports, (reports ? "" : reports.error().message));
        return reports->front();
    }
    template <class Change>
    void change_base(Change change) {
        const auto image = chain.image("base", Access::read_write);
        REQUIRE(change(*image, dynamic_cast<qcow2::Qcow2&>(image->format())));
        REQUIRE(image->flush());
    }
};

}  // namespace

TEST_CASE("a base that nobody touched is the same, whatever was pinned of it") {
    for (const PinMode mode : {PinMode::tables, PinMode::full}) {
        Pinned pinned(mode);
        pinned.chain.write("top", 0, 4096, 9);
        CHECK(pinned.report().state == PinState::same);
        CHECK(pinned.report().hints.empty());
    }
    CHECK(Pinned(PinMode::none).report().state == PinState::none);
}

TEST_CASE("a write that allocates is noticed by the tables") {
    Pinned pinned(PinMode::tables);
    pinned.chain.write("base", 768 * KiB, 1, 2);
    CHECK(pinned.report().state == PinState::changed);
    CHECK(pinned.report().changes.front() == "its header or tables are others");
}

TEST_CASE("a write in place is noticed by the content alone") {
    Pinned tables(PinMode::tables);
    tables.chain.write("base", 4096, 1, 2);
    CHECK(tables.report().state == PinState::same);
    Pinned full(PinMode::full);
    full.chain.write("base", 4096, 1, 2);
    CHECK(full.report().state == PinState::changed);
    CHECK(full.report(false).state == PinState::same);  // not looked at
}

TEST_CASE("content that is the same excuses other tables") {
    Pinned pinned(PinMode::full);
    pinned.change_base(
        [](Image& image, auto&) { return image.write_zeroes(GuestRange(GuestOffset(768 * KiB), 64 * KiB)); });
    CHECK(pinned.report(false).state == PinState::changed);
    const PinReport report = pinned.report();
    CHECK(report.state == PinState::same);
    CHECK(report.hints.front() == "its header or tables are others");
}

TEST_CASE("a longer base is a hint, a shorter one is not") {
    Pinned longer(PinMode::tables);
    longer.change_base(
        [](Image&, auto& format) { return qcow2::grow(format, 2 * MiB, [] { return Result<void>(); }); });
    CHECK(longer.report().state == PinState::same);
    CHECK(longer.report().hints.front() == "its disk had 1 MiB, and has 2 MiB");
    Pinned shorter(PinMode::tables);
    shorter.change_base(
        [](Image&, auto& format) { return qcow2::shrink(format, 640 * KiB, [] { return Result<void>(); }); });
    CHECK(shorter.report().state == PinState::changed);
    CHECK(shorter.report().changes.front() == "its disk had 1 MiB, and has 640 KiB");
}

TEST_CASE("snapshots inside the base are nobody's business") {
    Pinned pinned(PinMode::tables);
    pinned.change_base([](Image&, auto& format) { return qcow2::create_snapshot(format, "one", {}); });
    CHECK(pinned.report().state == PinState::same);
    pinned.change_base([](Image&, auto& format) { return qcow2::delete_snapshot(format, "one"); });
    CHECK(pinned.report().state == PinState::same);
}

TEST_CASE("a pin that cannot be read is told as such") {
    Pinned pinned(PinMode::tables);
    const auto image = pinned.chain.image("top", Access::read_write);
    auto& format = dynamic_cast<qcow2::Qcow2&>(image->format());
    format.header().set_text_extension(qcow2::disk::extension_pin, "from the future");
    REQUIRE(format.rewrite_header());
    CHECK(pinned.report().state == PinState::unknown);
}

TEST_CASE("commit renews the pin of the base that it writes to") {
    Pinned pinned(PinMode::full);
    pinned.chain.write("top", 768 * KiB, 4096, 3);
    REQUIRE(commit({.path = "top", .open = {}, .base = {}}, pinned.chain));
    CHECK(pinned.report().state == PinState::same);
    pinned.chain.write("base", 4096, 1, 7);
    CHECK(pinned.report().state == PinState::changed);  // and it is as full as it was
}

TEST_CASE("commit does not make a pin right that was wrong before") {
    Pinned pinned(PinMode::tables);
    pinned.chain.write("base", 768 * KiB, 1, 2);
    pinned.chain.write("top", 0, 4096, 3);
    REQUIRE(commit({.path = "top", .open = {}, .base = {}}, pinned.chain));
    CHECK(pinned.report().state == PinState::changed);
}

TEST_CASE("commit through the chain leaves the overlay between with a base that changed") {
    Pinned pinned(PinMode::tables);
    pinned.chain.add("upper", MiB, "top");
    pinned.pin("upper", "top", PinMode::tables);
    pinned.chain.write("upper", 768 * KiB, 4096, 3);
    CommitOptions options;
    options.path = "upper";
    options.base = "base";
    REQUIRE(commit(options, pinned.chain));
    const auto reports = check_pins({"upper", {}}, pinned.chain);
    REQUIRE(reports);
    REQUIRE(reports->size() == 2);
    CHECK(reports->at(0).state == PinState::same);
    CHECK(reports->at(1).state == PinState::changed);
}

TEST_CASE("rebase keeps no pin of the old base") {
    Pinned pinned(PinMode::tables);
    pinned.chain.add("other", MiB);
    RebaseOptions options;
    options.path = "top";
    options.backing = NewBacking{"other", "qcow2", {"other", {}}};
    REQUIRE(rebase(options, pinned.chain));
    CHECK(pinned.report().state == PinState::none);
    options.pin = PinMode::tables;
    REQUIRE(rebase(options, pinned.chain));
    CHECK(pinned.report().state == PinState::same);
    CHECK(pinned.chain.findings("top") == 0);
}

TEST_CASE("a header without room for a pin goes without") {
    MemoryChain chain;
    chain.add("base", MiB);
    Qcow2Layout small;
    small.cluster_bytes = 512;
    chain.add(std::string(300, 'b'), MiB);
    chain.add("top", MiB, std::string(300, 'b'), small);
    RebaseOptions options;
    options.path = "top";
    const std::string base(300, 'b');
    options.backing = NewBacking{base, "qcow2", {base, {}}};
    options.pin = PinMode::full;
    REQUIRE(rebase(options, chain));
    CHECK(check_pins({"top", {}}, chain)->front().state == PinState::none);
}

TEST_CASE("what changed is told in one sentence, and how to go on") {
    PinReport report;
    report.overlay = "top\x1b";
    report.base = "folder/base";
    report.base_name = "base";
    report.base_format = "qcow2";
    report.changes = {"one thing", "another"};
    report.modified = FileTime{0, 0};
    CHECK(
        describe_change(report) ==
        "'folder/base' changed since 'top\\x1b' was put on it: one thing, another; it was written to last on "
        "1970-01-01 00:00:00 UTC");
    CHECK(advice_on_change(report).ends_with("'qimg rebase -u -b base -F qcow2 top\\x1b'"));
}
