// Takes arbitrary bytes as a qcow2 image, mends it, and changes it in place, in steps that its last 16 bytes
// choose. An image that check found clean is clean after each of them, and shows guests what it should; snapshots
// stay, and bitmaps tell what changed. What fails on its way has lost nothing.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/bytes.hpp"
#include "bitmap_views.hpp"
#include "image_under_test.hpp"
#include "memory_opener.hpp"
#include "operations/snapshot_view.hpp"
#include "qimg/operations/amend.hpp"
#include "qimg/operations/bitmap.hpp"
#include "qimg/operations/rebase.hpp"
#include "qimg/operations/resize.hpp"
#include "qimg/operations/snapshot.hpp"
#include "tail.hpp"

using namespace qimg;

namespace {

// A step's four bytes: what is done, and to what.
struct Step {
    std::uint8_t action;
    std::uint8_t place;
    std::uint8_t length;
    std::uint8_t choice;
};
constexpr std::size_t steps_max = fuzz::tail_bytes / sizeof(Step);

class Changes {
  public:
    explicit Changes(std::span<const std::byte> bytes) : opener_(bytes) {}

    void run(const std::array<Step, steps_max>& steps) {
        if (!image_.is_small() || !image_.become_clean() || !read_everything()) return;
        for (const Step& step : steps) {
            step_ = step;
            if (!take_step()) return;
        }
    }

  private:
    using Action = Result<void> (Changes::*)();
    // What guests see after the action: what they saw, or what it has left in disk_.
    struct Described {
        const char* name;
        Action run;
    };
    static const std::array<Described, 16>& actions() {
        static const std::array<Described, 16> all = {{{"write", &Changes::write},
                                                       {"zero", &Changes::zero},
                                                       {"discard", &Changes::discard},
                                                       {"resize", &Changes::resize_disk},
                                                       {"snapshot", &Changes::take_snapshot},
                                                       {"apply", &Changes::apply},
                                                       {"delete", &Changes::delete_one},
                                                       {"version", &Changes::amend_version},
                                                       {"refcounts", &Changes::amend_refcounts},
                                                       {"lazy", &Changes::amend_lazy},
                                                       {"add bitmap", &Changes::add_bitmap},
                                                       {"bitmap", &Changes::change_bitmap},
                                                       {"no bitmaps", &Changes::remove_bitmaps},
                                                       {"rebase", &Changes::rebase_away},
                                                       {"repair", &Changes::repair},
                                                       {"write", &Changes::write}}};
        return all;
    }

    [[noreturn]] void broken(std::string_view what, std::string_view why = "") {
        image_.broken(fmt::format("after \"{}\" ({}, {}, {}): {} {}", name_, step_.place, step_.length,
                                  step_.choice, what, why));
    }

    // The disk, and the disks of snapshots that can be read.
    bool read_everything() {
        auto whole = image_.read_disk();
        if (!whole) return false;
        disk_ = std::move(*whole);
        const auto image = image_.open(Access::read_only);
        if (!image) return false;
        bitmaps_ = fuzz::believable_bitmaps(fuzz::ImageUnderTest::qcow2_of(**image));
        snapshots_.clear();
        SnapshotOptions options;
        options.path = "image";
        options.open.format = "qcow2";
        const auto list = snapshot_list(options, opener_);
        if (!list) return false;
        std::set<std::string> ids;
        for (const SnapshotInfo& snapshot : *list) {
            // of two with one id, nobody can say which is meant
            if (!ids.insert(snapshot.id).second) return false;
            auto disk = read_snapshot(snapshot);
            if (disk) snapshots_[snapshot.id] = std::move(*disk);
        }
        return true;
    }
    std::optional<Bytes> read_snapshot(const SnapshotInfo& snapshot) {
        const auto image = image_.open(Access::read_only);
        if (!image || snapshot.disk_bytes > fuzz::disk_bytes_max) return std::nullopt;
        SnapshotChoice choice;
        choice.id = snapshot.id;
        if (!show_snapshot(**image, choice)) return std::nullopt;
        // the disk that is shown is as long as today's; what the snapshot does not have is not its own
        Bytes disk(std::min((*image)->size(), snapshot.disk_bytes));
        if (!(*image)->read(GuestOffset(0), disk)) return std::nullopt;
        return disk;
    }

    bool take_step() {
        const Described& action = actions()[step_.action % actions().size()];
        name_ = action.name;
        const Bytes disk_before = disk_;
        const auto snapshots_before = snapshots_;
        const auto bitmaps_before = bitmaps_;
        const Result<void> done = (this->*action.run)();
        const auto report = image_.check_with(Repair::none);
        if (!report) broken("it cannot be checked");
        if (report->corruptions != 0 || report->check_errors != 0) broken("it is corrupt");
        if (done && report->leaks != 0) broken("it leaks");
        const Bytes disk_wanted = disk_;
        if (!done && (!image_.check_with(Repair::all) || !image_.is_clean())) broken("it cannot be mended");
        if (!read_everything()) broken("it cannot be read");
        if (done && disk_ != disk_wanted) broken("the disk is not what it should be");
        if (!done && !is_old_or_new(disk_before, disk_wanted)) broken("what failed has changed the disk");
        compare_snapshots(snapshots_before, done && action.run == &Changes::delete_one);
        // version 2 has none
        const bool is_about_bitmaps = action.run == &Changes::change_bitmap ||
                                      action.run == &Changes::remove_bitmaps ||
                                      action.run == &Changes::amend_version;
        const std::string forgetful = fuzz::forgetful_bitmap(bitmaps_before, bitmaps_, {disk_before, disk_});
        if (done && !is_about_bitmaps && !forgetful.empty())
            broken("a bitmap has forgotten something", forgetful);
        return disk_.size() <= fuzz::disk_bytes_max && !disk_.empty();
    }
    // Byte for byte, after a change that failed on its way.
    bool is_old_or_new(const Bytes& before, const Bytes& wanted) const {
        if (disk_.size() != before.size()) return false;
        if (disk_ == before) return true;
        for (std::size_t i = 0; i < disk_.size(); ++i) {
            const bool is_new = i < wanted.size() && disk_[i] == wanted[i];
            if (disk_[i] != before[i] && !is_new) return false;
        }
        return true;
    }
    void compare_snapshots(const std::map<std::string, Bytes>& before, bool one_less) {
        std::size_t gone = 0;
        for (const auto& [id, disk] : before) {
            const auto now = snapshots_.find(id);
            if (now == snapshots_.end()) {
                ++gone;
                continue;
            }
            const std::size_t common = std::min(disk.size(), now->second.size());
            if (!std::equal(disk.begin(), disk.begin() + static_cast<std::ptrdiff_t>(common),
                            now->second.begin()))
                broken("a snapshot is not what it was", id);
        }
        if (gone > (one_less ? 1 : 0)) broken("a snapshot has gone");
    }

    GuestRange part() const {
        const std::uint64_t start = disk_.size() * step_.place / 256;
        const std::uint64_t length = std::min<std::uint64_t>(
            disk_.size() - start, std::uint64_t{step_.length} * step_.length * (1 + step_.choice % 4));
        return GuestRange(GuestOffset(start), length);
    }
    std::span<std::byte> part_of_disk() {
        return std::span(disk_).subspan(part().start.bytes, part().length);
    }
    // Runs `change` on the open image and makes it last.
    template <class Change>
    Result<void> on_image(Change change) {
        const auto image = image_.open(Access::read_write);
        if (!image) return std::unexpected<Error>(image.error());
        const Result<void> done = change(**image);
        return done ? (*image)->flush() : done;
    }

    Result<void> write() {
        for (std::byte& b : part_of_disk())
            b = static_cast<std::byte>(step_.choice ^ (&b - disk_.data()));
        return on_image([&](Image& image) { return image.write(part().start, part_of_disk()); });
    }
    Result<void> zero() {
        std::ranges::fill(part_of_disk(), std::byte{0});
        return on_image(
            [&](Image& image) { return image.write_zeroes(part(), static_cast<Zeroing>(step_.choice % 3)); });
    }
    // It is the format's choice where guests see zeroes in the part afterwards, and where what they saw.
    Result<void> discard() {
        const auto done = on_image([&](Image& image) { return image.discard(part()); });
        if (!done) return done;
        const auto image = image_.open(Access::read_only);
        if (!image) return std::unexpected<Error>(image.error());
        Bytes now(part().length);
        const auto read = (*image)->read(part().start, now);
        if (!read) return read;
        for (std::size_t i = 0; i < now.size(); ++i) {
            if (now[i] != std::byte{0} && now[i] != part_of_disk()[i])
                broken("what is shown was never there");
        }
        std::ranges::copy(now, part_of_disk().begin());
        return {};
    }
    Result<void> resize_disk() {
        ResizeOptions options;
        options.path = "image";
        options.open.format = "qcow2";
        options.shrink = true;
        options.size.bytes =
            std::max<std::uint64_t>(sector_bytes, round_down(disk_.size() * step_.place / 100, sector_bytes));
        options.preallocation = step_.choice % 4 == 0 ? Preallocation::metadata : Preallocation::off;
        Bytes exposed(options.size.bytes - std::min<std::uint64_t>(options.size.bytes, disk_.size()));
        const Result<void> known = read_exposed(exposed);
        if (!known) return known;
        const auto done = resize(options, opener_);
        if (!done) return std::unexpected<Error>(done.error());
        disk_.resize(options.size.bytes - exposed.size());
        disk_.insert(disk_.end(), exposed.begin(), exposed.end());
        return {};
    }
    // What a longer disk shows behind its old end: zeroes, or what a raw data file has there, but for the rest of a
    // cluster that had no place in that.
    Result<void> read_exposed(Bytes& exposed) {
        const auto image = image_.open(Access::read_only);
        if (!image) return std::unexpected<Error>(image.error());
        const qcow2::Qcow2& format = fuzz::ImageUnderTest::qcow2_of(**image);
        if (!format.header().data_file_raw()) return {};
        const auto last = format.map(GuestRange(GuestOffset(disk_.size() - 1), 1));
        if (!last) return std::unexpected<Error>(last.error());
        const std::uint64_t shared = round_up(disk_.size(), format.cluster_bytes()) - disk_.size();
        const std::uint64_t cleared =
            last->kind == MappingKind::data ? 0 : std::min<std::uint64_t>(shared, exposed.size());
        return format.data_storage().read(HostOffset(disk_.size() + cleared),
                                          std::span(exposed).subspan(cleared));
    }

    SnapshotOptions snapshot_options() const {
        SnapshotOptions options;
        options.path = "image";
        options.open.format = "qcow2";
        const auto chosen =
            std::next(snapshots_.begin(),
                      static_cast<std::ptrdiff_t>(snapshots_.empty() ? 0 : step_.place % snapshots_.size()));
        options.name = chosen == snapshots_.end() ? "none" : chosen->first;
        return options;
    }
    Result<void> take_snapshot() {
        SnapshotOptions options = snapshot_options();
        options.name = fmt::format("new {}", step_.choice);
        return snapshot_create(options, opener_);
    }
    Result<void> apply() {
        const SnapshotOptions options = snapshot_options();
        const auto done = snapshot_apply(options, opener_);
        const auto shown = snapshots_.find(options.name);
        if (!done || shown == snapshots_.end()) return done;
        const auto image = image_.open(Access::read_only);
        if (!image) return std::unexpected<Error>(image.error());
        // a disk of version 2 keeps its length
        Bytes disk((*image)->size());
        const auto read = (*image)->read(GuestOffset(0), disk);
        if (!read) return read;
        std::copy_n(shown->second.begin(), std::min(shown->second.size(), disk.size()), disk.begin());
        disk_ = std::move(disk);
        return {};
    }
    Result<void> delete_one() { return snapshot_delete(snapshot_options(), opener_); }

    Result<void> amend_to(const Qcow2Amendment& wanted) {
        AmendOptions options;
        options.path = "image";
        options.open.format = "qcow2";
        options.qcow2 = wanted;
        return amend(options, opener_);
    }
    Result<void> amend_version() {
        Qcow2Amendment wanted;
        wanted.version = 2 + step_.choice % 2;
        if (step_.choice % 4 == 0) wanted.refcount_bits = 16;
        return amend_to(wanted);
    }
    Result<void> amend_refcounts() {
        Qcow2Amendment wanted;
        wanted.refcount_bits = 1u << step_.choice % 7;
        return amend_to(wanted);
    }
    Result<void> amend_lazy() {
        Qcow2Amendment wanted;
        wanted.lazy_refcounts = step_.choice % 2 == 0;
        return amend_to(wanted);
    }

    Result<void> bitmap_steps(const std::string& name, std::vector<BitmapStep> steps) {
        BitmapOptions options;
        options.path = "image";
        options.open.format = "qcow2";
        options.name = name;
        options.steps = std::move(steps);
        options.granularity_bytes = 512ull << step_.place % 8;
        return change_bitmaps(options, opener_);
    }
    Result<void> add_bitmap() {
        return bitmap_steps(fmt::format("b{}", step_.choice % 4), {{BitmapAction::add, ""}});
    }
    Result<void> change_bitmap() {
        const auto image = image_.open(Access::read_only);
        if (!image) return std::unexpected<Error>(image.error());
        ImageInfo info;
        const auto described = (*image)->format().describe(info);
        if (!described) return described;
        if (info.qcow2->bitmaps.empty()) return {};
        const auto& bitmaps = info.qcow2->bitmaps;
        constexpr std::array actions = {BitmapAction::clear, BitmapAction::enable, BitmapAction::disable,
                                        BitmapAction::merge, BitmapAction::remove};
        return bitmap_steps(
            bitmaps[step_.place % bitmaps.size()].name,
            {{actions[step_.choice % actions.size()], bitmaps[step_.length % bitmaps.size()].name}});
    }
    Result<void> remove_bitmaps() { return bitmap_steps("", {{BitmapAction::remove_all, ""}}); }

    // Only the disk is: where snapshots show the old backing file, they lose it, in qemu-img, too.
    Result<void> rebase_away() {
        if (!snapshots_.empty()) return {};
        RebaseOptions options;
        options.path = "image";
        options.open.format = "qcow2";
        const auto done = rebase(options, opener_);
        if (!done) return std::unexpected<Error>(done.error());
        return {};
    }
    Result<void> repair() {
        if (!image_.check_with(Repair::all)) broken("it cannot be repaired");
        return {};
    }

    fuzz::MemoryOpener opener_;
    fuzz::ImageUnderTest image_{opener_, "image"};
    Bytes disk_;
    std::map<std::string, Bytes> snapshots_;
    fuzz::BitmapViews bitmaps_;
    Step step_{};
    const char* name_ = "";
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::Tail tail = fuzz::tail_of({data, size});
    std::array<Step, steps_max> steps{};
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const std::uint8_t* const bytes = &tail[i * sizeof(Step)];
        steps[i] = Step{bytes[0], bytes[1], bytes[2], bytes[3]};
    }
    Changes(std::as_bytes(std::span(data, size))).run(steps);
    return 0;
}
