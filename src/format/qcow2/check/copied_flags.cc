// Tables in which nothing can be wrong are told from the first scan and not read again.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/copied_flags.hpp"

#include <algorithm>

#include "base/endian.hpp"
#include "base/try.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg::qcow2 {

namespace {

// How often a table that many L1 entries share is looked at again for the sake of QEMU's output.
constexpr std::uint64_t repetitions_max = 4096;

std::uint64_t corrected(std::uint64_t word, std::uint64_t refcount) {
    return refcount == 1 ? word | disk::flag_copied : word & ~disk::flag_copied;
}

const char* verb(bool repair) {
    return repair ? "Repairing" : "ERROR";
}

}  // namespace

Result<void> CopiedFlags::check(bool repair, Findings& findings) {
    const std::uint64_t file_bytes = TRY(image_.storage().size());
    // entries behind the end of the file are zero
    const std::uint64_t in_file = header_.l1_table.bytes < file_bytes
                                      ? divide_up(file_bytes - header_.l1_table.bytes, table_entry_bytes)
                                      : 0;
    const auto l1 = TRY(read_l1_table(image_.storage(), image_.geometry(), header_.l1_table,
                                      std::min<std::uint64_t>(header_.l1_entries, in_file)));
    for (std::size_t i = 0; i < l1.size(); ++i) {
        const HostOffset at(l1[i] & disk::offset_mask);
        if (at.bytes == 0) continue;
        const auto refcount = TRY(refcounts_.refcount(image_.geometry().cluster_at(at)));
        if (!refcount) continue;
        if (corrected(l1[i], *refcount) != l1[i]) {
            findings.say(fmt::format("{} OFLAG_COPIED L2 cluster: l1_index={} l1_entry={:x} refcount={}",
                                     verb(repair), i, l1[i], *refcount));
            if (repair && !is_l1_alone_) {
                findings.check_error(
                    "ERROR: Could not write L1 table; metadata overlap check failed: Input/output error");
                return {};
            }
            if (repair) {
                const be64 entry = corrected(l1[i], *refcount);
                TRY(image_.storage().write(header_.l1_table + i * table_entry_bytes,
                                           std::as_bytes(std::span(&entry, 1))));
            }
            ++(repair ? findings.report.corruptions_fixed : findings.report.corruptions);
        }
        TRY(check_l2_table(at, repair, findings));
    }
    return {};
}

Result<std::optional<std::uint64_t>> CopiedFlags::refcount_of(const L2Entry& entry) const {
    // clusters of an external data file belong to one guest cluster each
    if (header_.has_data_file()) return 1;
    return refcounts_.refcount(image_.geometry().cluster_at(entry.host()));
}

Result<void> CopiedFlags::check_l2_table(HostOffset at, bool repair, Findings& findings) {
    const TableUse* use = tables_.find(at);
    if (use == nullptr || (use->all_copied && (all_ones_ || header_.has_data_file()))) return {};
    if (use->active_references > 1 && ++repetitions_ > repetitions_max) return {};
    L2Table table(image_.geometry());
    TRY(image_.storage().read(at, table.bytes()));
    std::uint64_t wrong = 0;
    for (std::uint64_t i = 0; i < image_.geometry().l2_entries(); ++i) {
        L2Entry entry = table.get(i);
        if (entry.is_compressed() ||
            (entry.host().bytes == 0 && !(header_.has_data_file() && entry.is_copied())))
            continue;
        const auto refcount = TRY(refcount_of(entry));
        if (!refcount || corrected(entry.word, *refcount) == entry.word) continue;
        findings.say(fmt::format("{} OFLAG_COPIED data cluster: l2_entry={:x} refcount={}", verb(repair),
                                 entry.word, *refcount));
        ++wrong;
        if (!repair) continue;
        entry.word = corrected(entry.word, *refcount);
        table.set(i, entry);
    }
    bool is_fixed = false;
    if (wrong != 0 && repair) is_fixed = TRY(write_corrected(at, table.bytes(), findings));
    (is_fixed ? findings.report.corruptions_fixed : findings.report.corruptions) += wrong;
    return {};
}

// False when something else points to the table's cluster: then it may not be a table at all.
Result<bool> CopiedFlags::write_corrected(HostOffset at, std::span<const std::byte> table,
                                          Findings& findings) {
    if (!tables_.find(at)->alone) {
        findings.check_error(
            "ERROR: Could not write L2 table; metadata overlap check failed: Input/output error");
        return false;
    }
    TRY(image_.storage().write(at, table));
    return true;
}

}  // namespace qimg::qcow2
