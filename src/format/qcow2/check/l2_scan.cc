// One tight loop for ordinary entries; everything remarkable is judged apart from it.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/l2_scan.hpp"

#include <bit>
#include <cstring>
#include <utility>

#include "base/endian.hpp"

namespace qimg::qcow2 {

L2Scan::L2Scan(const Header& header, RegionCounter& regions, bool mend)
    : header_(header),
      geometry_(header.geometry),
      regions_(regions),
      mend_(mend),
      remarkable_bits_(disk::flag_compressed | disk::l2_reserved_mask |
                       (disk::offset_mask & (header.geometry.cluster_bytes() - 1))) {}

void L2Scan::add_line(HostOffset table, std::string line) {
    TableFindings& findings = findings_[table.bytes];
    ++findings.corruptions;
    if (lines_++ < lines_max) findings.lines.push_back(std::move(line));
}

void L2Scan::add_line_once(HostOffset table, std::string line, std::uint64_t corruptions) {
    TableFindings& findings = findings_[table.bytes];
    findings.corruptions_once += corruptions;
    if (lines_++ < lines_max) findings.lines_once.push_back(std::move(line));
}

bool L2Scan::is_remarkable(const L2Entry& entry) const {
    if ((entry.word & remarkable_bits_) != 0) return true;
    const std::uint64_t allocated = entry.bitmap & all_subclusters_allocated;
    return (allocated & entry.bitmap >> subclusters_per_cluster) != 0 ||
           (allocated != 0 && !entry.has_host(geometry_));
}

// How many bytes of `bytes` are entries that go on where `run` ends: nothing remarkable, the copied flag set.
// Most of a large image is like that, so it is told without looking at each entry by itself.
std::uint64_t L2Scan::continued_bytes(std::span<const std::byte> bytes, Run run) const {
    constexpr std::uint64_t group = 16;
    const std::uint64_t step = geometry_.cluster_bytes();
    std::uint64_t expected = (run.start.bytes + run.bytes) | disk::flag_copied;
    std::uint64_t done = 0;
    // past what an entry can address, offsets would run into the reserved bits
    if (expected % disk::flag_copied + bytes.size() / table_entry_bytes * step > host_offset_end) return 0;
    for (; bytes.size() - done >= group * table_entry_bytes; done += group * table_entry_bytes) {
        const std::byte* at = bytes.data() + done;
        std::uint64_t difference = 0;
        for (std::uint64_t i = 0; i < group; ++i) {
            std::uint64_t raw;
            std::memcpy(&raw, at + i * sizeof(raw), sizeof(raw));
            difference |= raw ^ std::byteswap(expected + i * step);
        }
        if (difference != 0) break;
        expected += group * step;
    }
    return done;
}

void L2Scan::scan(std::span<const std::byte> bytes, TableUse& use) {
    const std::uint64_t step = geometry_.l2_entry_bytes();
    const std::uint64_t cluster_bytes = geometry_.cluster_bytes();
    const bool extended = geometry_.extended_l2();
    std::uint64_t allocated = 0;
    std::uint64_t fragmented = 0;
    std::uint64_t flags = disk::flag_copied;
    Run run;
    for (std::uint64_t at = 0; at < bytes.size(); at += step) {
        const L2Entry entry{load<be64>(bytes.subspan(at)), extended ? +load<be64>(bytes.subspan(at + 8)) : 0};
        if (is_remarkable(entry)) [[unlikely]] {
            flags = 0;
            // what is before it is told before it
            count_run(run, use);
            run = {run.start + run.bytes, 0};
            if (judge(entry, at / step, use) == Verdict::skip) continue;
        }
        if (!entry.has_host(geometry_)) continue;
        flags &= entry.word;
        const HostOffset host = entry.host();
        if (host == run.start + run.bytes && allocated != 0 && is_aligned(host.bytes, cluster_bytes)) {
            run.bytes += cluster_bytes;
        } else {
            if (allocated != 0) ++fragmented;
            count_run(run, use);
            run = {host, cluster_bytes};
        }
        ++allocated;
        if (!extended && is_aligned(host.bytes, cluster_bytes)) {
            const std::uint64_t skipped = continued_bytes(bytes.subspan(at + step), run);
            run.bytes += skipped / step * cluster_bytes;
            allocated += skipped / step;
            at += skipped;
        }
    }
    count_run(run, use);
    use.all_copied = flags != 0;
    statistics_.allocated += allocated * use.active_references;
    statistics_.fragmented += fragmented * use.active_references;
}

// A run inside the file at once, otherwise its clusters one by one.
void L2Scan::count_run(Run run, const TableUse& use) {
    if (header_.has_data_file()) return;
    if (!regions_.is_outside(run.start, run.bytes)) return count_region(run.start, run.bytes, use);
    for (std::uint64_t done = 0; done < run.bytes; done += geometry_.cluster_bytes()) {
        count_region(run.start + done, geometry_.cluster_bytes(), use);
    }
}

void L2Scan::count_region(HostOffset at, std::uint64_t bytes, const TableUse& use) {
    if (regions_.is_outside(at, bytes)) return add_line(use.at, regions_.outside_text(at, bytes));
    regions_.count(at, bytes, use.references, [&](std::string line, std::uint64_t excess) {
        add_line_once(use.at, std::move(line), excess);
    });
}

L2Scan::Verdict L2Scan::judge(const L2Entry& entry, std::uint64_t index, const TableUse& use) {
    if (entry.is_compressed()) return judge_compressed(entry, index, use);
    if ((entry.word & disk::l2_reserved_mask) != 0) {
        add_line(use.at, fmt::format("ERROR found l2 entry with reserved bits set: {:x}", entry.word));
    }
    const std::uint64_t allocated = entry.bitmap & all_subclusters_allocated;
    if (!entry.has_host(geometry_)) {
        if (allocated != 0) {
            add_line(use.at, "ERROR: Unallocated cluster has non-zero subcluster allocation map");
        }
        return Verdict::skip;
    }
    if ((allocated & entry.bitmap >> subclusters_per_cluster) != 0) {
        add_line(
            use.at,
            fmt::format("ERROR offset={:x}: Allocated cluster has corrupted subcluster allocation bitmap",
                        entry.host().bytes));
    }
    if (!geometry_.is_cluster_aligned(entry.host().bytes)) return judge_unaligned(entry, index, use);
    return Verdict::counts;
}

L2Scan::Verdict L2Scan::judge_unaligned(const L2Entry& entry, std::uint64_t index, const TableUse& use) {
    const bool has_data = geometry_.extended_l2() ? (entry.bitmap & all_subclusters_allocated) != 0
                                                  : (entry.word & disk::flag_zero) == 0;
    if (has_data) {
        add_line(use.at,
                 fmt::format("ERROR offset={:x}: Data cluster is not properly aligned; L2 entry corrupted.",
                             entry.host().bytes));
        return Verdict::counts;
    }
    const std::string text =
        fmt::format(" offset={:x}: Preallocated cluster is not properly aligned; L2 entry corrupted.",
                    entry.host().bytes);
    if (!mend_) {
        add_line(use.at, "ERROR" + text);
        return Verdict::counts;
    }
    add_line_once(use.at, "Repairing" + text, 0);
    mends_.push_back({use.at + index * geometry_.l2_entry_bytes(), use.at});
    return Verdict::skip;
}

L2Scan::Verdict L2Scan::judge_compressed(const L2Entry& entry, std::uint64_t index, const TableUse& use) {
    const CompressedPlace place = entry.compressed(geometry_);
    if (entry.is_copied()) {
        add_line(use.at,
                 fmt::format("ERROR: coffset={:#x}: copied flag must never be set for compressed clusters",
                             place.host.bytes));
    }
    const auto refuse = [&](const char* why) {
        add_line(use.at, fmt::format("ERROR compressed cluster {} with {}, entry={:#x}", index, why,
                                     entry.word & ~disk::flag_copied));
    };
    if (header_.has_data_file()) {
        refuse("data file");
        return Verdict::skip;
    }
    if (entry.bitmap != 0) {
        refuse("non-zero subcluster allocation bitmap");
        return Verdict::skip;
    }
    count_region(place.host, place.bytes, use);
    // they share clusters with each other, so none of them is in one piece
    statistics_.allocated += use.active_references;
    statistics_.fragmented += use.active_references;
    statistics_.compressed += use.active_references;
    return Verdict::skip;
}

}  // namespace qimg::qcow2
