// Following every table of an image. Findings are reported in the order of the L1 entries that lead to them,
// although L2 tables are read in the order of their offsets.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/references.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/endian.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/check/read_ahead.hpp"

namespace qimg::qcow2 {

References::References(Qcow2& image, std::span<const Snapshot> snapshots, Repair repair,
                       std::uint64_t file_bytes, Findings& findings, Progress& progress)
    : image_(image),
      snapshots_(snapshots),
      header_(image.header()),
      geometry_(image.geometry()),
      repair_(repair),
      findings_(findings),
      progress_(progress),
      counts_(geometry_.clusters_for(file_bytes), geometry_.refcount_max()),
      regions_(counts_, geometry_, file_bytes),
      scan_(header_, regions_, repair == Repair::all),
      // every table of an image that obeys the rules has its own clusters in the file
      budget_bytes_(2 * file_bytes + 64 * MiB) {}

Result<void> References::count() {
    count_region(HostOffset(0), geometry_.cluster_bytes());
    list_l1_tables();
    TRY(collect_l2_tables());
    TRY(scan_l2_tables());
    TRY(mend_entries());
    TRY(report_tables());
    count_region(header_.snapshot_table, snapshot_table_bytes(snapshots_));
    TRY(load_refcount_table());
    TRY(count_bitmaps());
    count_refcount_blocks();
    for (TableUse& use : tables_.tables()) {
        use.alone =
            geometry_.is_cluster_aligned(use.at.bytes) &&
            counts_.get(geometry_.cluster_at(use.at)) == std::min(use.references, geometry_.refcount_max());
    }
    const std::uint64_t l1_first = geometry_.cluster_at(header_.l1_table);
    const std::uint64_t l1_clusters = geometry_.clusters_for(header_.l1_entries * table_entry_bytes);
    for (std::uint64_t i = 0; i < l1_clusters; ++i)
        is_l1_alone_ = is_l1_alone_ && counts_.get(l1_first + i) == 1;
    if (is_budget_spent_) findings_.check_error("ERROR: tables overlap too often; some were not followed");
    return {};
}

bool References::spend(std::uint64_t bytes) {
    if (bytes > budget_bytes_) is_budget_spent_ = true;
    if (is_budget_spent_) return false;
    budget_bytes_ -= bytes;
    return true;
}

void References::count_region(HostOffset at, std::uint64_t bytes) {
    if (bytes == 0) return;
    if (regions_.is_outside(at, bytes)) return findings_.corruption(regions_.outside_text(at, bytes));
    regions_.count(at, bytes, 1, [&](const std::string& line, std::uint64_t) { findings_.corruption(line); });
}

void References::list_l1_tables() {
    l1_tables_.push_back({header_.l1_table, header_.l1_entries, true, {}, false});
    for (const Snapshot& snapshot : snapshots_) {
        L1Table table{snapshot.l1_table, snapshot.l1_entries, false, {}, false};
        const std::string who = printable(snapshot.info.id) + " (" + printable(snapshot.info.name) + ")";
        if (!geometry_.is_cluster_aligned(table.at.bytes)) {
            table.corruptions.push_back(
                fmt::format("ERROR snapshot {} l1_offset={:#x}: L1 table is not cluster aligned; snapshot "
                            "table entry corrupted",
                            who, table.at.bytes));
            table.entries = 0;
        } else if (table.entries > l1_table_bytes_max / table_entry_bytes) {
            table.corruptions.push_back(fmt::format(
                "ERROR snapshot {} l1_size={:#x}: L1 table is too large; snapshot table entry corrupted", who,
                table.entries));
            table.entries = 0;
        }
        l1_tables_.push_back(std::move(table));
    }
}

// Calls visit(entry) for each entry that is not zero. What lies behind the end of the file is zero.
template <class Visit>
Result<void> References::visit_l1(const L1Table& table, Visit visit) {
    constexpr std::uint64_t batch_entries = MiB / table_entry_bytes;
    const std::uint64_t in_file = table.at.bytes < regions_.file_bytes()
                                      ? divide_up(regions_.file_bytes() - table.at.bytes, table_entry_bytes)
                                      : 0;
    const std::uint64_t entries = std::min(table.entries, in_file);
    Bytes raw(std::min(entries, batch_entries) * table_entry_bytes);
    for (std::uint64_t first = 0; first < entries; first += batch_entries) {
        const auto part = std::span(raw).first(std::min(batch_entries, entries - first) * table_entry_bytes);
        TRY(image_.storage().read(table.at + first * table_entry_bytes, part));
        for (std::uint64_t at = 0; at < part.size(); at += table_entry_bytes) {
            const std::uint64_t entry = load<be64>(part.subspan(at));
            if (entry != 0) visit(entry);
        }
    }
    return {};
}

bool References::is_l1_entry_remarkable(std::uint64_t entry) const {
    const HostOffset at(entry & disk::offset_mask);
    return (entry & disk::l1_reserved_mask) != 0 || !geometry_.is_cluster_aligned(at.bytes) ||
           regions_.is_outside(at, geometry_.cluster_bytes());
}

void References::count_l1_table(L1Table& table) {
    const std::uint64_t bytes = table.entries * table_entry_bytes;
    if (regions_.is_outside(table.at, bytes)) {
        table.corruptions.push_back(regions_.outside_text(table.at, bytes));
    } else {
        regions_.count(table.at, bytes, 1, [&](std::string line, std::uint64_t) {
            table.corruptions.push_back(std::move(line));
        });
    }
}

// Broken or hostile snapshots share their tables: what leads to one counts as often as there are, and is read once.
Result<void> References::collect_l2_tables() {
    struct Shared {
        std::vector<L1Table*> tables;
        std::uint64_t active = 0;
    };
    std::map<std::pair<std::uint64_t, std::uint64_t>, Shared> by_place;
    for (L1Table& table : l1_tables_) {
        if (table.entries == 0) continue;
        if (!spend(table.entries * table_entry_bytes)) break;
        count_l1_table(table);
        Shared& shared = by_place[{table.at.bytes, table.entries}];
        shared.tables.push_back(&table);
        if (table.active) ++shared.active;
    }
    for (const auto& [place, shared] : by_place) {
        bool is_remarkable = false;
        TRY(visit_l1(*shared.tables.front(), [&](std::uint64_t entry) {
            is_remarkable = is_remarkable || is_l1_entry_remarkable(entry);
            tables_.add(HostOffset(entry & disk::offset_mask), shared.tables.size(), shared.active);
        }));
        for (L1Table* const table : shared.tables)
            table->is_remarkable = is_remarkable;
    }
    tables_.settle();
    return {};
}

Result<void> References::scan_l2_tables() {
    std::vector<TableUse>& tables = tables_.tables();
    const std::uint64_t bytes = geometry_.cluster_bytes();
    const auto table_at = [&](std::uint64_t i) -> std::optional<HostOffset> {
        // nothing to be read behind the end of the file
        if (tables[i].at.bytes >= regions_.file_bytes()) return std::nullopt;
        return tables[i].at;
    };
    return read_ahead(image_.storage(), {tables.size(), bytes, table_at},
                      [&](std::uint64_t i, std::span<const std::byte> table) -> Result<void> {
                          TableUse& use = tables[i];
                          if (!regions_.is_outside(use.at, bytes)) {
                              regions_.count(use.at, bytes, use.references,
                                             [&](std::string line, std::uint64_t excess) {
                                                 scan_.add_line_once(use.at, std::move(line), excess);
                                             });
                          }
                          if (!table.empty() && spend(bytes)) scan_.scan(table, use);
                          if (i % 64 == 0) progress_.update(i, tables.size());
                          if (progress_.cancelled()) return fail(ErrorKind::cancelled, "check was stopped");
                          return {};
                      });
}

// A table that shares its clusters with something else is not written to: the entry may be that other thing.
Result<void> References::mend_entries() {
    if (scan_.mends().empty()) return {};
    // in an extended entry, the bitmap says which subclusters are zero: it stays
    const be64 no_place = geometry_.extended_l2() ? 0 : disk::flag_zero;
    for (const Mend& mend : scan_.mends()) {
        const TableUse* use = tables_.find(mend.table);
        if (!geometry_.is_cluster_aligned(mend.table.bytes) ||
            counts_.get(geometry_.cluster_at(mend.table)) != use->references) {
            findings_.check_error(
                fmt::format("ERROR: L2 table at {:#x} overlaps other structures; its entry at {:#x} "
                            "cannot be repaired",
                            mend.table.bytes, mend.entry.bytes));
            continue;
        }
        TRY(image_.storage().write(mend.entry, std::as_bytes(std::span(&no_place, 1))));
        ++findings_.report.corruptions_fixed;
    }
    // only then may the clusters that the entries pointed to become free
    return image_.barrier();
}

Result<void> References::report_tables() {
    for (const L1Table& table : l1_tables_) {
        if (!table.active && header_.has_data_file() && &table == &l1_tables_[1]) {
            findings_.corruption(
                fmt::format("ERROR {} snapshots in image with data file", l1_tables_.size() - 1));
        }
        for (const std::string& line : table.corruptions)
            findings_.corruption(line);
        if ((!table.is_remarkable && scan_.findings().empty()) || is_budget_spent_) continue;
        TRY(visit_l1(table, [&](std::uint64_t entry) {
            const HostOffset at(entry & disk::offset_mask);
            if ((entry & disk::l1_reserved_mask) != 0) {
                findings_.corruption(fmt::format("ERROR found L1 entry with reserved bits set: {:x}", entry));
            }
            if (regions_.is_outside(at, geometry_.cluster_bytes())) {
                findings_.corruption(regions_.outside_text(at, geometry_.cluster_bytes()));
            }
            if (!geometry_.is_cluster_aligned(at.bytes)) {
                findings_.corruption(fmt::format(
                    "ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted", at.bytes));
            }
            report_l2_table(at);
        }));
    }
    for (const auto& [at, findings] : scan_.findings())
        findings_.report.corruptions += findings.corruptions_once;
    return {};
}

void References::report_l2_table(HostOffset at) {
    const auto found = scan_.findings().find(at.bytes);
    if (found == scan_.findings().end()) return;
    const TableFindings& table = found->second;
    findings_.report.corruptions += table.corruptions;
    const auto say = [&](const std::string& line) {
        if (reports_left_ == 0) return;
        --reports_left_;
        findings_.say(
            reports_left_ == 0 ? "ERROR: too many findings in L2 tables; the others are only counted" : line);
    };
    TableUse* use = tables_.find(at);
    if (!std::exchange(use->is_reported, true)) {
        for (const std::string& line : table.lines_once)
            say(line);
    }
    for (const std::string& line : table.lines)
        say(line);
}

Result<void> References::count_bitmaps() {
    const BitmapDirectory directory = TRY(read_bitmaps(image_.storage(), header_));
    count_region(directory.at, directory.bytes);
    for (const Bitmap& bitmap : directory.bitmaps) {
        const std::uint64_t bytes = bitmap.table_entries * table_entry_bytes;
        count_region(bitmap.table, bytes);
        if (!spend(bytes)) return {};
        const L1Table table{bitmap.table, bitmap.table_entries, false, {}, false};
        TRY(visit_l1(table, [&](std::uint64_t entry) {
            const HostOffset at(entry & disk::offset_mask);
            // bit 0 says what a bitmap without data is made of
            const std::uint64_t reserved = ~disk::offset_mask & (at.bytes == 0 ? ~1ull : ~0ull);
            if ((entry & reserved) != 0 || !geometry_.is_cluster_aligned(at.bytes)) {
                findings_.corruption(fmt::format("ERROR bitmap {}: invalid table entry {:x}",
                                                 printable(bitmap.info.name), entry));
            } else if (at.bytes != 0) {
                count_region(at, geometry_.cluster_bytes());
            }
        }));
    }
    return {};
}

Result<void> References::load_refcount_table() {
    const std::uint64_t bytes = header_.refcount_table_clusters * geometry_.cluster_bytes();
    count_region(header_.refcount_table, bytes);
    Bytes raw(bytes);
    TRY(image_.storage().read(header_.refcount_table, raw));
    refcount_table_.resize(bytes / table_entry_bytes);
    for (std::size_t i = 0; i < refcount_table_.size(); ++i) {
        refcount_table_[i] = load<be64>(std::span(raw).subspan(i * table_entry_bytes));
    }
    return {};
}

void References::count_refcount_blocks() {
    const auto refuse = [&](const std::string& line) {
        needs_rebuild_ = true;
        findings_.corruption(line);
    };
    for (std::size_t i = 0; i < refcount_table_.size(); ++i) {
        const HostOffset at(refcount_table_[i] & disk::refcount_offset_mask);
        const std::uint64_t cluster = geometry_.cluster_at(at);
        if ((refcount_table_[i] & ~disk::refcount_offset_mask) != 0) {
            refuse(fmt::format("ERROR refcount table entry {} has reserved bits set", i));
        } else if (!geometry_.is_cluster_aligned(at.bytes)) {
            refuse(fmt::format(
                "ERROR refcount block {} is not cluster aligned; refcount table entry corrupted", i));
        } else if (cluster >= counts_.clusters()) {
            refuse(fmt::format("{} refcount block {} is outside image",
                               repair_ == Repair::all ? "Repairing" : "ERROR", i));
        } else if (at.bytes != 0) {
            count_region(at, geometry_.cluster_bytes());
            if (counts_.get(cluster) != 1) {
                refuse(fmt::format("ERROR refcount block {} refcount={}", i, counts_.get(cluster)));
            }
        }
    }
}

}  // namespace qimg::qcow2
