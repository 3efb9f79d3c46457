// Every command that changes an image in place, as the crash and fault tests run it on test_images().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/try.hpp"
#include "operations/commit_draft.hpp"
#include "qimg/operations/amend.hpp"
#include "qimg/operations/bitmap.hpp"
#include "qimg/operations/check.hpp"
#include "qimg/operations/commit.hpp"
#include "qimg/operations/rebase.hpp"
#include "qimg/operations/resize.hpp"
#include "qimg/operations/snapshot.hpp"
#include "support/content.hpp"
#include "support/sample_image.hpp"
#include "support/test_images.hpp"

namespace qimg::test {

struct TestCommand {
    std::string name;
    Outcome outcome;
    std::function<Result<void>(Opener&)> run;  // on the image "top"
    bool repairs = false;                      // is for damaged images, too
    bool moves_flags = false;                  // changes which clusters are shared with snapshots
    std::string needs = "top";                 // only where there is such a file

    bool fits(const TestImage& image) const {
        return image.files.contains(needs) && (image.health != Health::damaged || repairs);
    }
};

inline Result<void> without_report(const auto& report) {
    if (!report) return std::unexpected<Error>(report.error());
    return {};
}

// What a guest does; `unit` is a 160th of the disk, or a sector.
inline TestCommand guest(const std::string& name,
                         std::function<Result<void>(Image& disk, std::uint64_t unit)> does) {
    return {name, Outcome::bytewise, [does = std::move(does)](Opener& files) -> Result<void> {
                OpenOptions open;
                open.access = Access::read_write;
                const auto image = TRY(Image::open("top", open, files));
                TRY(does(*image, std::max(sector_bytes, round_down(image->size() / 160, sector_bytes))));
                return image->flush();
            }};
}

inline std::vector<TestCommand> guest_commands() {
    return {
        guest("writes",
              [](Image& disk, std::uint64_t unit) -> Result<void> {
                  for (unsigned i = 0; i < 12; ++i) {
                      TRY(disk.write(GuestOffset(i * 7 * unit + 333), pattern(3 * unit - 100, 100 + i)));
                      if (i % 5 == 4) TRY(disk.flush());
                  }
                  return {};
              }),
        guest("write zeroes",
              [](Image& disk, std::uint64_t unit) -> Result<void> {
                  TRY(disk.write_zeroes(GuestRange(GuestOffset(unit - 10), 30 * unit)));
                  TRY(disk.flush());
                  return disk.write_zeroes(GuestRange(GuestOffset(50 * unit), 20 * unit + 7),
                                           Zeroing::keep_space);
              }),
        guest("discard",
              [](Image& disk, std::uint64_t unit) {
                  return disk.discard(GuestRange(GuestOffset(40 * unit), 40 * unit));
              }),
        // what the first part frees is what the second part finds free
        guest("writes into freed clusters",
              [](Image& disk, std::uint64_t unit) -> Result<void> {
                  TRY(disk.discard(GuestRange(GuestOffset(0), 64 * unit)));
                  TRY(disk.flush());
                  return disk.write(GuestOffset(80 * unit), pattern(30 * unit, 7));
              }),
    };
}

inline TestCommand resizing(const std::string& name, SizeChange::Kind kind, std::uint64_t bytes,
                            Preallocation preallocation = Preallocation::off) {
    return {name, Outcome::whole, [=](Opener& files) {
                ResizeOptions options;
                options.path = "top";
                options.size = {kind, bytes};
                options.shrink = true;
                options.preallocation = preallocation;
                return without_report(resize(options, files));
            }};
}

inline std::vector<TestCommand> resize_commands() {
    const auto longer = SizeChange::Kind::grow;
    return {
        resizing("resize, longer", longer, 240 * KiB),
        resizing("resize, longer, metadata", longer, 90 * KiB, Preallocation::metadata),
        resizing("resize, longer, falloc", longer, 90 * KiB, Preallocation::falloc),
        resizing("resize, longer, full", longer, 50 * KiB, Preallocation::full),
        resizing("resize, shorter", SizeChange::Kind::absolute, 50 * KiB),
    };
}

inline std::vector<TestCommand> snapshot_commands() {
    const auto with = [](const std::string& name, auto does, const std::string& snapshot) {
        return TestCommand{name, Outcome::whole,
                           [=](Opener& files) {
                               SnapshotOptions options;
                               options.path = "top";
                               options.name = snapshot;
                               return does(options, files);
                           },
                           false, true};
    };
    return {with("snapshot -c", snapshot_create, "new"), with("snapshot -a", snapshot_apply, "first"),
            with("snapshot -d", snapshot_delete, "first")};
}

inline TestCommand committing(const std::string& name, std::optional<std::string> base, bool empty) {
    return {name, Outcome::bytewise, [=](Opener& files) {
                CommitOptions options;
                options.path = "top";
                options.base = base;
                options.empty = empty;
                return without_report(commit(options, files));
            }};
}

inline TestCommand rebasing(
    const std::string& name, const std::string& onto,
    const std::function<void(RebaseOptions&)>& more = [](RebaseOptions&) {}) {
    RebaseOptions options;
    options.path = "top";
    options.pin = PinMode::full;
    if (!onto.empty()) options.backing = NewBacking{onto, "qcow2", {onto, {}}};
    more(options);
    // what is to stand below has to be there, and in qcow2
    return {name,  Outcome::whole, [=](Opener& files) { return without_report(rebase(options, files)); },
            false, false,          onto.empty() ? "top" : "mid"};
}

inline std::vector<TestCommand> chain_commands() {
    const auto unsafe = [](RebaseOptions& options) { options.unsafe = true; };
    return {
        committing("commit", std::nullopt, true),
        committing("commit -d", std::nullopt, false),
        committing("commit -b", "base", true),
        rebasing("rebase", "other"),
        rebasing("rebase -c", "other", [](RebaseOptions& options) { options.compress = true; }),
        rebasing("rebase two below", "base"),
        rebasing("rebase on nothing", ""),
        rebasing("rebase -u", "other", unsafe),
        rebasing("rebase -u on nothing", "", unsafe),
    };
}

inline TestCommand amending(const std::string& name, const std::function<void(AmendOptions&)>& wanted,
                            const std::string& needs = "top") {
    AmendOptions options;
    options.path = "top";
    wanted(options);
    return {name, Outcome::whole, [=](Opener& files) { return amend(options, files); }, false, false, needs};
}

inline std::vector<TestCommand> amend_commands() {
    std::vector<TestCommand> all{
        amending("amend compat=1.1", [](AmendOptions& o) { o.qcow2.version = 3; }),
        amending("amend compat=0.10",
                 [](AmendOptions& o) {
                     o.qcow2.version = 2;
                     o.qcow2.refcount_bits = 16;
                 }),
        amending("amend lazy_refcounts=on", [](AmendOptions& o) { o.qcow2.lazy_refcounts = true; }),
        amending("amend lazy_refcounts=off", [](AmendOptions& o) { o.qcow2.lazy_refcounts = false; }),
        amending(
            "amend data_file", [](AmendOptions& o) { o.qcow2.data_file = "moved"; }, "moved"),
        amending("amend data_file_raw=off", [](AmendOptions& o) { o.qcow2.data_file_raw = false; }),
        amending("amend size", [](AmendOptions& o) { o.size = 200 * KiB; }),
    };
    for (const unsigned bits : {1u, 2u, 8u, 16u, 64u}) {
        all.push_back(amending("amend refcount_bits=" + std::to_string(bits),
                               [=](AmendOptions& o) { o.qcow2.refcount_bits = bits; }));
    }
    return all;
}

inline TestCommand bitmapping(const std::string& bitmap, const std::vector<BitmapStep>& steps,
                              const std::string& name, const std::string& source = "") {
    BitmapOptions options;
    options.path = "top";
    options.name = bitmap;
    options.steps = steps;
    if (!source.empty()) options.source = BitmapSource{source, {}};
    return {"bitmap " + name, Outcome::whole, [=](Opener& files) { return change_bitmaps(options, files); }};
}

inline std::vector<TestCommand> bitmap_commands() {
    using enum BitmapAction;
    return {
        bitmapping("new", {{add, ""}}, "--add"),
        bitmapping("fine", {{remove, ""}}, "--remove"),
        bitmapping("", {{remove_all, ""}}, "--remove-all"),
        bitmapping("fine", {{clear, ""}}, "--clear"),
        bitmapping("still", {{enable, ""}}, "--enable"),
        bitmapping("fine", {{disable, ""}}, "--disable"),
        bitmapping("still", {{merge, "fine"}}, "--merge"),
        bitmapping("fine", {{merge, "fine"}}, "--merge from another image", "twin"),
        bitmapping("new", {{add, ""}, {merge, "fine"}, {disable, ""}}, "--add --merge --disable"),
    };
}

// Many changes and a longer disk in one step, as `expand` does it.
inline TestCommand drafting(const std::string& name, std::uint64_t longer) {
    return {name, Outcome::whole, [=](Opener& files) -> Result<void> {
                OpenOptions open;
                open.access = Access::read_write;
                const auto image = TRY(Image::open("top", open, files));
                TRY(check_can_take_draft(*image, image->size() + longer));
                const auto draft = TRY(open_draft(*image, image->size() + longer));
                const std::uint64_t unit =
                    std::max(sector_bytes, round_down(draft->size() / 160, sector_bytes));
                for (unsigned i = 0; i < 12; ++i)
                    TRY(draft->write(i * 13 * unit + 333, pattern(3 * unit - 100, 300 + i)));
                TRY(draft->write_zeroes(40 * unit - 7, 45 * unit));
                return commit_draft(*image, *draft);
            }};
}

inline TestCommand checking(const std::string& name, Repair repair) {
    return {name, Outcome::whole,
            [=](Opener& files) {
                CheckOptions options;
                options.path = "top";
                options.repair = repair;
                return without_report(check(options, files));
            },
            true};
}

inline std::vector<TestCommand> test_commands() {
    std::vector<TestCommand> all = guest_commands();
    for (const auto& more :
         {resize_commands(), snapshot_commands(), chain_commands(), amend_commands(), bitmap_commands()}) {
        all.insert(all.end(), more.begin(), more.end());
    }
    all.push_back(drafting("a draft", 0));
    all.push_back(drafting("a draft, longer", 333 * KiB));
    all.push_back(checking("check -r leaks", Repair::leaks));
    all.push_back(checking("check -r all", Repair::all));
    return all;
}

}  // namespace qimg::test
