// A chain of images and the changes to it after which guests must see what they saw before.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "operations/pin.hpp"
#include "qimg/operations/commit.hpp"
#include "qimg/operations/rebase.hpp"
#include "support/changes.hpp"
#include "support/recorded_folder.hpp"

namespace qimg::test {

struct ChainChange {
    std::string name;
    std::function<Result<void>(Opener&)> run;
};

inline Result<void> rebase_top(Opener& opener, const std::string& onto, bool compress) {
    RebaseOptions options;
    options.path = "top";
    options.compress = compress;
    options.pin = PinMode::full;
    if (!onto.empty()) options.backing = NewBacking{onto, "qcow2", {onto, {}}};
    const auto report = rebase(options, opener);
    if (!report) return std::unexpected<Error>(report.error());
    return {};
}

inline Result<void> commit_top(Opener& opener, std::optional<std::string> base) {
    CommitOptions options;
    options.path = "top";
    options.base = std::move(base);
    const auto report = commit(options, opener);
    if (!report) return std::unexpected<Error>(report.error());
    return {};
}

inline std::vector<ChainChange> chain_changes() {
    return {
        {"rebase on another image", [](Opener& opener) { return rebase_top(opener, "other", false); }},
        {"rebase, compressed", [](Opener& opener) { return rebase_top(opener, "other", true); }},
        {"rebase on the image two below", [](Opener& opener) { return rebase_top(opener, "base", false); }},
        {"rebase on nothing", [](Opener& opener) { return rebase_top(opener, "", false); }},
        {"commit", [](Opener& opener) { return commit_top(opener, std::nullopt); }},
        {"commit through the chain", [](Opener& opener) { return commit_top(opener, "base"); }},
    };
}

struct ChainPart {
    std::string name;
    std::uint64_t bytes;
    std::string backing;
};

// What a change of the chain must not lose.
struct ChainContent {
    Bytes disk;
    std::vector<Bytes> snapshots;
    friend bool operator==(const ChainContent&, const ChainContent&) = default;
};

inline std::unique_ptr<Image> open_top(Opener& opener, Access access) {
    OpenOptions open;
    open.access = access;
    auto image = Image::open("top", open, opener);
    REQUIRE_MESSAGE(image, (image ? "" : image.error().message));
    return std::move(*image);
}

inline void pin_overlays(Opener& opener) {
    OpenOptions open;
    open.access = Access::read_write;
    for (const char* name : {"mid", "top"}) {
        const auto image = Image::open(name, open, opener);
        REQUIRE(image);
        const auto pin = take_pin(*(*image)->backing(), PinMode::full, no_progress());
        REQUIRE(pin);
        set_pin(as_qcow2(**image).header(), *pin);
        REQUIRE(rewrite_pinned_header(as_qcow2(**image)));
    }
}

// A pin may be gone, but none may raise a false alarm. What is seen on the image between does change when
// something is committed below it.
inline void check_pin(const Folder& folder) {
    RecordedFolder files(folder);
    const auto pins = check_pins({"top", {}, false}, files);
    REQUIRE(pins);
    if (!pins->empty()) CHECK(pins->front().state != PinState::changed);
}

// The images differ in length; all have some data of their own, some alike, some zeroes.
inline Folder starting_chain(const Qcow2Layout& layout) {
    Folder folder;
    constexpr std::uint64_t unit = 4 * KiB;
    for (const ChainPart& part : {ChainPart{"base", 14 * unit, ""}, ChainPart{"mid", 11 * unit, "base"},
                                  ChainPart{"top", 16 * unit, "mid"}, ChainPart{"other", 13 * unit, ""}}) {
        Qcow2Layout made = layout;
        made.backing_file = made.backing_format = std::nullopt;
        if (!part.backing.empty()) {
            made.backing_file = part.backing;
            made.backing_format = "qcow2";
        }
        RecordingStorage file;
        REQUIRE(qcow2::create_empty(file, made, part.bytes));
        folder[part.name] = file.content();
    }
    RecordedFolder files(folder);
    const auto change = [&](const std::string& name, auto&& how) {
        OpenOptions open;
        open.access = Access::read_write;
        const auto image = Image::open(name, open, files);
        REQUIRE_MESSAGE(image, (image ? "" : image.error().message));
        how(**image);
        REQUIRE((*image)->flush());
    };
    change("base", [](Image& image) { REQUIRE(image.write(GuestOffset(0), pattern(13 * unit, 1))); });
    change("other", [](Image& image) {
        REQUIRE(image.write(GuestOffset(0), pattern(5 * unit, 1)));
        REQUIRE(image.write(GuestOffset(9 * unit), pattern(3 * unit, 2)));
    });
    change("mid", [](Image& image) {
        REQUIRE(image.write(GuestOffset(unit), pattern(unit, 3)));
        REQUIRE(image.write_zeroes(GuestRange(GuestOffset(9 * unit), unit)));
    });
    change("top", [](Image& image) {
        REQUIRE(image.write(GuestOffset(2 * unit + 700), pattern(unit, 4)));
        REQUIRE(image.write(GuestOffset(15 * unit), pattern(unit, 5)));
        REQUIRE(image.flush());
        REQUIRE(qcow2::create_snapshot(as_qcow2(image), "first", {}));
        REQUIRE(image.write(GuestOffset(6 * unit), pattern(unit, 6)));
        REQUIRE(image.write_zeroes(GuestRange(GuestOffset(2 * unit), unit)));
    });
    pin_overlays(files);
    return files.content();
}

// Snapshots without their backing image: an unallocated cluster stays one.
inline ChainContent read_chain(const Folder& folder) {
    RecordedFolder files(folder);
    ChainContent content;
    content.disk = read_disk(*open_top(files, Access::read_only));
    RecordingStorage top(folder.at("top"));
    content.snapshots = read_snapshot_disks(top, Below::nothing);
    return content;
}

inline void check_whole(Folder& folder, const std::string& name) {
    RecordingStorage storage(folder.at(name));
    {
        const auto image = open_image(storage, true);
        const auto report = qcow2::check_image(as_qcow2(*image), Repair::none, {}, no_progress());
        REQUIRE(report);
        CHECK(report->corruptions == 0);
        REQUIRE(qcow2::check_image(as_qcow2(*image), Repair::all, {}, no_progress()));
    }
    folder[name] = storage.content();
}

// Guests see what they saw, all images are whole, and a repair changes none of it.
inline void check_chain(Folder folder, const ChainContent& before) {
    CHECK(read_chain(folder) == before);
    check_pin(folder);
    for (const char* name : {"base", "mid", "top"})
        check_whole(folder, name);
    CHECK(read_chain(folder) == before);
}

}  // namespace qimg::test
