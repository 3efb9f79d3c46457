// Refcount blocks are read in batches and compared a run at a time; only differences are looked at
// one by one.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/refcount_comparison.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/check/read_ahead.hpp"
#include "format/qcow2/refcount_entries.hpp"

namespace qimg::qcow2 {

namespace {

constexpr unsigned order_of_16_bits = 4;

// Are 16-bit refcounts the same as the counts? Without a branch inside, so that it is done with vectors.
bool is_equal(std::span<const std::byte> refcounts, std::span<const std::uint16_t> counts) {
    unsigned difference = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        std::uint16_t raw;
        std::memcpy(&raw, refcounts.data() + 2 * i, sizeof(raw));
        difference |= static_cast<unsigned>(std::byteswap(raw) ^ counts[i]);
    }
    return difference == 0;
}

}  // namespace

bool RefcountComparison::is_readable(std::uint64_t index) const {
    return geometry_.is_cluster_aligned(table_[index] & disk::refcount_offset_mask);
}

Result<void> RefcountComparison::compare(const Pass& pass, Findings& findings) {
    const std::uint64_t entries = geometry_.refcount_block_entries();
    const std::uint64_t clusters = counts_.clusters();
    const auto table_at = [&](std::uint64_t i) -> std::optional<HostOffset> {
        if (i >= table_.size() || !is_readable(i)) return std::nullopt;
        const std::uint64_t at = table_[i] & disk::refcount_offset_mask;
        return at != 0 ? std::optional(HostOffset(at)) : std::nullopt;
    };
    found_uncounted_ = found_difference_ = false;
    highest_ = 0;
    return read_ahead(
        image_.storage(), {divide_up(clusters, entries), geometry_.cluster_bytes(), table_at},
        [&](std::uint64_t i, std::span<std::byte> bytes) -> Result<void> {
            Block block{i, i * entries, std::min(entries, clusters - i * entries), bytes, false};
            if (i < table_.size() && !is_readable(i)) {
                report_unreadable(block, pass, findings);
                return {};
            }
            note_highest(block);
            const std::uint64_t end = block.first + block.count;
            for (std::uint64_t cluster = block.first; cluster < end;) {
                const std::uint64_t equal = equal_prefix(block, cluster);
                cluster += equal;
                // after a difference, look at a short run before the next attempt to skip
                const std::uint64_t stop = std::min(end, cluster + 64);
                for (; equal == 0 && cluster < stop; ++cluster)
                    compare_cluster(block, cluster, pass, findings);
            }
            if (block.is_changed) TRY(image_.storage().write(*table_at(i), block.bytes));
            return {};
        });
}

std::uint64_t RefcountComparison::in_block(const Block& block, std::uint64_t cluster) const {
    return block.bytes.empty() ? 0
                               : get_refcount(block.bytes, geometry_.refcount_order(), cluster - block.first);
}

// A number of clusters from `cluster` on that are known to be equal; 0 when a closer look is needed.
std::uint64_t RefcountComparison::equal_prefix(const Block& block, std::uint64_t cluster) const {
    const std::uint64_t left = block.first + block.count - cluster;
    if (block.bytes.empty() && counts_.is_untouched({cluster, left})) return left;
    if (geometry_.refcount_order() != order_of_16_bits && !block.bytes.empty()) return 0;
    constexpr std::uint64_t step = 4096;
    const std::span<const std::uint16_t> counts = counts_.narrow(cluster);
    const std::uint64_t run = std::min<std::uint64_t>({left, counts.size(), step});
    const auto compared = counts.first(run);
    if (block.bytes.empty()) return is_zero(std::as_bytes(compared)) ? run : 0;
    return is_equal(block.bytes.subspan(2 * (cluster - block.first)), compared) ? run : 0;
}

void RefcountComparison::note_highest(const Block& block) {
    if (block.bytes.empty() && counts_.is_untouched({block.first, block.count})) return;
    for (std::uint64_t cluster = block.first + block.count; cluster-- > block.first;) {
        if (in_block(block, cluster) == 0 && counts_.get(cluster) == 0) continue;
        highest_ = cluster;
        return;
    }
}

void RefcountComparison::report_unreadable(const Block& block, const Pass& pass, Findings& findings) {
    if (pass.is_silent) return;
    if (!has_told_unreadable_) {
        findings.say(
            fmt::format("qcow2: Image is corrupt: Refblock offset {:#x} unaligned (reftable index: {}); "
                        "further non-fatal corruption events will be suppressed",
                        table_[block.index] & disk::refcount_offset_mask,
                        block.index == 0 ? "0" : fmt::format("{:#x}", block.index)));
        has_told_unreadable_ = true;
    }
    for (std::uint64_t cluster = block.first; cluster < block.first + block.count; ++cluster) {
        findings.check_error(fmt::format("Can't get refcount for cluster {}: Input/output error", cluster));
    }
}

void RefcountComparison::compare_cluster(Block& block, std::uint64_t cluster, const Pass& pass,
                                         Findings& findings) {
    const std::uint64_t refcount = in_block(block, cluster);
    const std::uint64_t reference = counts_.get(cluster);
    if (refcount == reference) return;
    found_difference_ = true;
    const bool is_leak = refcount > reference;
    if (refcount == 0) found_uncounted_ = true;
    const bool mends = refcount != 0 && (is_leak ? pass.repair != Repair::none : pass.repair == Repair::all);
    findings.say(fmt::format("{} cluster {} refcount={} reference={}",
                             mends     ? "Repairing"
                             : is_leak ? "Leaked"
                                       : "ERROR",
                             cluster, refcount, reference));
    CheckReport& report = findings.report;
    if (mends) {
        set_refcount(block.bytes, geometry_.refcount_order(), cluster - block.first, reference);
        block.is_changed = true;
        ++(is_leak ? report.leaks_fixed : report.corruptions_fixed);
        return;
    }
    ++(is_leak ? report.leaks : report.corruptions);
    if (pass.adopt) counts_.set(cluster, refcount);
}

Result<std::optional<std::uint64_t>> RefcountComparison::refcount(std::uint64_t cluster) const {
    const std::uint64_t index = cluster / geometry_.refcount_block_entries();
    if (index >= table_.size()) return 0;
    if (!is_readable(index)) return std::nullopt;
    if (cluster < counts_.clusters()) return counts_.get(cluster);
    const HostOffset at(table_[index] & disk::refcount_offset_mask);
    if (at.bytes == 0) return 0;
    // rare: a table points behind the end of the file
    const std::uint64_t entry = cluster % geometry_.refcount_block_entries();
    const std::uint64_t word_entries = 64 / geometry_.refcount_bits();
    std::array<std::byte, 8> word;
    TRY(image_.storage().read(at + entry / word_entries * word.size(), word));
    return get_refcount(word, geometry_.refcount_order(), entry % word_entries);
}

}  // namespace qimg::qcow2
