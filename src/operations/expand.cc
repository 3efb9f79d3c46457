// Disk, table, partition and file system grow in a draft of the disk, which reaches the image as a whole.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/expand.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "guest/file_systems.hpp"
#include "guest/grow_partition.hpp"
#include "guest/part.hpp"
#include "guest/partition_table.hpp"
#include "guest/probe.hpp"
#include "operations/commit_draft.hpp"

namespace qimg {

namespace {

Result<std::uint64_t> wanted_bytes(const ExpandOptions& options, std::uint64_t old) {
    if (!options.size) return old;
    const auto wanted = options.size->apply(old);
    if (!wanted || *wanted == 0) return fail(ErrorKind::invalid_argument, "New image size must be positive");
    if (*wanted < old) {
        return fail(ErrorKind::invalid_argument, "The disk would become shorter, which expand does not do");
    }
    return round_up(*wanted, sector_bytes);
}

// Where the file system is that shall grow.
struct Place {
    std::uint64_t start = 0;
    Lengths bytes;
};

class Expansion {
  public:
    Expansion(guest::Draft& disk, const ExpandOptions& options, ExpandReport& report, Progress& progress)
        : disk_(disk), options_(options), report_(report), progress_(progress) {}

    Result<void> run() {
        const Place place = TRY(grow_table());
        guest::Part part(disk_, place.start, place.bytes.after);
        const bool grew = place.bytes.after > place.bytes.before;
        const auto found = TRY(guest::probe(disk_, place.start, place.bytes.before));
        if (found) report_.file_system = guest::name_of(found->content);
        if (!found && !report_.partition) {
            return fail(ErrorKind::unsupported,
                        "There is neither a partition table nor a file system that is known");
        }
        auto growth = guest::grow_file_system(part, found, grew, progress_);
        if (!growth) return named(std::move(growth).error());
        if (growth->old_bytes && growth->new_bytes)
            report_.file_system_bytes = Lengths{*growth->old_bytes, *growth->new_bytes};
        report_.is_complete = growth->fills;
        report_.remaining = growth->remaining;
        return {};
    }

  private:
    std::unexpected<Error> named(Error error) const {
        const std::string where =
            report_.partition ? fmt::format("Partition {}", *report_.partition) : "The disk";
        error.message = fmt::format("{} ({}): {}", where, report_.file_system, error.message);
        return std::unexpected<Error>(std::move(error));
    }

    // A longer disk that is of no use to the partition is refused: what lies behind it had to move first.
    Result<void> check_use(const guest::PartitionTable& table, const guest::Partition& partition) const {
        const bool is_longer = report_.disk.after > report_.disk.before;
        const bool can_grow = guest::grown_bytes(table, partition) > partition.bytes;
        if (!is_longer || can_grow || table.room_end(partition) >= table.usable_end) return {};
        return failf(
            ErrorKind::unsupported,
            "Partition {} cannot grow: another one lies behind it; use resize for a longer disk alone",
            partition.number);
    }

    Result<Place> grow_table() {
        const guest::PartitionTable table = TRY(guest::read_partition_table(disk_));
        const auto stop = std::ranges::find(table.notes, true, &guest::TableNote::stops_growing);
        if (stop != table.notes.end())
            return failf(ErrorKind::unsupported, "The partition table cannot grow: {}", stop->text);
        if (table.kind == guest::TableKind::none) {
            if (options_.partition) return fail(ErrorKind::not_found, "The disk has no partition table");
            return Place{0, report_.disk};
        }
        const auto chosen = guest::choose_partition(table, options_.partition);
        if (!chosen) return failf(chosen.error().kind, "On the disk, {}", chosen.error().message);
        TRY(check_use(table, **chosen));
        const guest::Partition& partition = **chosen;
        const Place place{partition.start, {partition.bytes, guest::grown_bytes(table, partition)}};
        const bool is_behind = !table.notes.empty();
        if (is_behind || place.bytes.after > place.bytes.before)
            TRY(guest::grow_partition(disk_, table, partition));
        report_.partition = partition.number;
        report_.partition_bytes = place.bytes;
        return place;
    }

    guest::Draft& disk_;
    const ExpandOptions& options_;
    ExpandReport& report_;
    Progress& progress_;
};

}  // namespace

Result<ExpandReport> expand(const ExpandOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = Access::read_write;
    const auto image = TRY(Image::open(options.path, open, opener));
    ExpandReport report;
    const std::uint64_t wanted = TRY(wanted_bytes(options, image->size()));
    TRY(check_can_take_draft(*image, wanted));
    report.disk = {image->size(), wanted};
    const auto draft = TRY(open_draft(*image, wanted));
    TRY(Expansion(*draft, options, report, progress).run());
    report.is_changed = wanted != image->size() || !draft->changes().empty();
    if (report.is_changed && !options.dry_run) TRY(commit_draft(*image, *draft));
    return report;
}

Result<bool> finish_expand(const std::string& path, const OpenOptions& open, Opener& opener) {
    return finish_draft(path, open, opener);
}

bool is_expand_unfinished(const std::string& path) {
    return is_draft_unfinished(path);
}

}  // namespace qimg
