// What became of images that a command was cut in, or failed in: whole, nothing lost, and mended by a repair
// that loses nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>

#include "qimg/operations/check.hpp"
#include "qimg/operations/pins.hpp"
#include "support/content.hpp"
#include "support/recorded_folder.hpp"
#include "support/test_commands.hpp"
#include "support/test_images.hpp"

namespace qimg::test {

// By image of the folder.
using Contents = std::map<std::string, Content>;

inline Result<Contents> read_contents(const Folder& folder, const std::vector<std::string>& names) {
    RecordedFolder files(folder);
    Contents contents;
    for (const std::string& name : names) {
        contents[name] = TRY(read_content(files, name));
    }
    return contents;
}

struct Verdict {
    std::uint64_t leaks = 0;         // clusters
    std::uint64_t copied_flags = 0;  // that the repair set right
    std::string corrupt = {};        // a rule of the format that is broken; empty: none
    std::string lost = {};           // what a user misses; empty: nothing
};

struct Change {
    const TestImage& image;
    Outcome outcome;
    bool moves_flags;
    Contents before;
    Contents after;
};

struct Findings {
    std::uint64_t leaks = 0;
    std::uint64_t copied_flags = 0;  // that say something else than the refcounts
    std::string corrupt = {};
};

inline Findings check_in(Opener& files, const std::string& name, Repair repair) {
    Findings found;
    CheckOptions options;
    options.path = name;
    options.open.with_backing = false;
    options.repair = repair;
    options.on_finding = [&](const std::string& line) {
        if (line.starts_with("ERROR OFLAG_COPIED")) ++found.copied_flags;
    };
    const auto report = check(options, files);
    if (!report) {
        found.corrupt = report.error().message;
        return found;
    }
    found.leaks = report->leaks;
    if (report->corruptions > found.copied_flags)
        found.corrupt = fmt::format("{} corruptions", report->corruptions - found.copied_flags);
    if (report->check_errors != 0) found.corrupt = fmt::format("{} errors", report->check_errors);
    return found;
}

// Checks one image and repairs it. Taking and deleting a snapshot changes refcounts and copied flags one after
// the other, so the flags may be wrong in between; nobody goes by them, and the repair mends them.
inline void check_and_repair(RecordedFolder& files, const std::string& name, const Change& change,
                             Verdict& verdict) {
    if (change.image.health == Health::whole) {
        const Findings found = check_in(files, name, Repair::none);
        if (!found.corrupt.empty()) verdict.corrupt = name + ": " + found.corrupt;
        if (found.copied_flags != 0 && !change.moves_flags) verdict.corrupt = name + ": copied flags";
        verdict.leaks += found.leaks;
        verdict.copied_flags += found.copied_flags;
    }
    check_in(files, name, Repair::all);
    Findings left = check_in(files, name, Repair::none);
    if (left.leaks != 0) {
        // counts behind the file's end, which comes to lie behind them when the repair makes the file longer
        check_in(files, name, Repair::all);
        left = check_in(files, name, Repair::none);
    }
    if (left.leaks != 0 || left.copied_flags != 0 || !left.corrupt.empty())
        verdict.corrupt += fmt::format("{}: the repair left {} leaks, {} copied flags {}", name, left.leaks,
                                       left.copied_flags, left.corrupt);
}

// Whoever goes on without a repair loses nothing either: what is written is there, and all the rest.
inline std::string lost_by_going_on(const Folder& folder, const Change& change, const Contents& now,
                                    std::uint64_t at) {
    RecordedFolder files(folder);
    Content expected = now.at("top");
    at = round_down(at % expected.disk.size(), sector_bytes);
    const Bytes data = pattern(std::min<std::size_t>(3 * sector_bytes, expected.disk.size() - at), 77);
    std::ranges::copy(data, expected.disk.begin() + static_cast<std::ptrdiff_t>(at));
    {
        OpenOptions open;
        open.access = Access::read_write;
        const auto image = Image::open("top", open, files);
        if (!image) return image.error().message;
        const auto written = (*image)->write(GuestOffset(at), data);
        if (!written) return written.error().message;
        const auto flushed = (*image)->flush();
        if (!flushed) return flushed.error().message;
    }
    const auto after = read_contents(files.content(), change.image.watched);
    if (!after) return after.error().message;
    for (const auto& [name, content] : *after) {
        const Content& wanted = name == "top" ? expected : now.at(name);
        if (content.disk != wanted.disk) return name + ": the disk has something else";
        if (content.snapshots != wanted.snapshots) return name + ": a snapshot has something else";
    }
    return check_in(files, "top", Repair::none).corrupt;
}

// A pin may be gone, but none may raise a false alarm. What is seen on the image between does change when something
// is committed below it.
inline std::string wrong_pin(Opener& files) {
    const auto pins = check_pins({"top", {}, false}, files);
    if (!pins) return pins.error().message;
    const bool is_wrong = !pins->empty() && pins->front().state == PinState::changed;
    return is_wrong ? "top: the pin is wrong: " + describe_change(pins->front()) : std::string();
}

inline std::string lost_of(const Contents& now, const Change& change) {
    for (const auto& [name, content] : now) {
        // only "top" changes in one step; what a commit brings into the images below is written as it comes
        const Outcome outcome = name == "top" ? change.outcome : Outcome::bytewise;
        const std::string what = lost(content, change.before.at(name), change.after.at(name), outcome);
        if (!what.empty()) return name + ": " + what;
    }
    return {};
}

// `draw` decides where an image that was cut is written to.
inline Verdict judge(const Folder& folder, const Change& change, std::uint64_t draw) {
    Verdict verdict;
    const auto now = read_contents(folder, change.image.watched);
    if (!now) {
        verdict.lost = now.error().message;
        return verdict;
    }
    verdict.lost = lost_of(*now, change);
    RecordedFolder files(folder);
    if (verdict.lost.empty() && folder.contains("mid")) verdict.lost = wrong_pin(files);
    for (const std::string& name : change.image.watched) {
        const bool is_raw = now->at(name).version == 0;
        if (!is_raw && folder.at(name) != change.image.files.at(name))
            check_and_repair(files, name, change, verdict);
    }
    const auto mended = read_contents(files.content(), change.image.watched);
    if (!mended) {
        verdict.lost = "after the repair: " + mended.error().message;
    } else if (*mended != *now && verdict.lost.empty()) {
        verdict.lost = "the repair changed what is there";
    }
    if (change.image.health == Health::damaged || !verdict.lost.empty()) return verdict;
    const std::string gone = lost_by_going_on(folder, change, *now, draw);
    if (!gone.empty()) verdict.lost = "going on without a repair: " + gone;
    return verdict;
}

// An error that says no before anything is changed.
inline bool is_refusal(const Error& error) {
    return error.kind == ErrorKind::unsupported || error.kind == ErrorKind::invalid_argument ||
           error.kind == ErrorKind::not_found || error.kind == ErrorKind::exists ||
           error.kind == ErrorKind::corrupt;
}

// What the command does to the image when nothing goes wrong; nullopt when it does nothing, or refuses to.
inline Result<std::optional<Change>> undisturbed(const TestImage& image, const TestCommand& command,
                                                 RecordedFolder& files) {
    if (!command.fits(image)) return std::optional<Change>();
    const Result<void> done = command.run(files);
    const bool changed = files.content() != image.files;
    if (!done && !is_refusal(done.error())) return std::unexpected<Error>(done.error());
    if (!done || !changed) return std::optional<Change>();
    Change change{image, command.outcome, command.moves_flags, {}, {}};
    change.before = TRY(read_contents(image.files, image.watched));
    change.after = TRY(read_contents(files.content(), image.watched));
    return std::optional<Change>(std::move(change));
}

}  // namespace qimg::test
