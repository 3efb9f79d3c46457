// Placing and writing new refcount structures, and reading all counts of the old ones.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcount_structures.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/check/read_ahead.hpp"
#include "format/qcow2/refcount_entries.hpp"

namespace qimg::qcow2 {

namespace {

void ignore_overflow(std::uint64_t, std::uint64_t) {}

// Where new refcount structures go, worked out before anything is written.
class Plan {
  public:
    Plan(const Geometry& geometry, ClusterCounts& counts) : geometry_(geometry), counts_(counts) {}

    // Blocks for all clusters with references, those of the blocks and of the table included: each walk may
    // use clusters that need one block more, until one finds nothing to add. Returns how many walks it took.
    std::uint64_t make(Progress& progress) {
        for (std::uint64_t walks = 1;; ++walks) {
            const bool added_blocks = add_missing_blocks();
            const bool grew = fit_table();
            // one more is the least that follows a walk that added something, and the writing
            const std::uint64_t expected = std::max<std::uint64_t>(walks, walks_min) + 1;
            progress.update(walks, expected);
            if (!added_blocks && !grew) return walks;
            if (walks + 1 == expected) progress.update(walks, expected + 1);
        }
    }

    // The cluster of each block; 0 where none is needed.
    const std::vector<std::uint64_t>& blocks() const { return blocks_; }
    ClusterRun table() const { return table_; }

  private:
    bool needs_block(std::uint64_t index) const {
        const std::uint64_t entries = geometry_.refcount_block_entries();
        const std::uint64_t first = index * entries;
        return counts_.first_used(first, first + entries) != first + entries;
    }

    bool add_missing_blocks() {
        bool added = false;
        blocks_.resize(divide_up(counts_.clusters(), geometry_.refcount_block_entries()));
        for (std::uint64_t i = 0; i < blocks_.size(); ++i) {
            if (blocks_[i] != 0 || !needs_block(i)) continue;
            blocks_[i] = take(1).first;
            added = true;
        }
        return added || blocks_.size() < divide_up(counts_.clusters(), geometry_.refcount_block_entries());
    }

    bool fit_table() {
        const std::uint64_t clusters = geometry_.clusters_for(blocks_.size() * table_entry_bytes);
        if (clusters <= table_.count) return false;
        for (std::uint64_t i = 0; i < table_.count; ++i)
            counts_.set(table_.first + i, 0);
        table_ = take(clusters);
        return true;
    }

    // The first run of free clusters, maybe behind the end of the file.
    ClusterRun take(std::uint64_t count) {
        // what was passed over stays in use
        first_free_ = counts_.first_free(first_free_);
        ClusterRun run{first_free_, count};
        for (;;) {
            const std::uint64_t used = counts_.first_used(run.first, run.first + count);
            if (used == run.first + count) break;
            run.first = counts_.first_free(used);
        }
        counts_.add(run, 1, ignore_overflow);
        return run;
    }

    static constexpr std::uint64_t walks_min = 2;  // one adds, one finds that all is there

    Geometry geometry_;
    ClusterCounts& counts_;
    std::vector<std::uint64_t> blocks_;
    ClusterRun table_;
    std::uint64_t first_free_ = 1;
};

// Blocks in the making: neighbours in the file are written at once.
class BlockWriter {
  public:
    BlockWriter(Storage& storage, const Geometry& geometry) : storage_(storage), geometry_(geometry) {}

    // Room for the block at `cluster`, all zeroes.
    Result<std::span<std::byte>> begin(std::uint64_t cluster) {
        const bool goes_on = cluster == first_ + bytes_.size() / geometry_.cluster_bytes();
        if (!goes_on || bytes_.size() >= batch_bytes) TRY(finish());
        if (bytes_.empty()) first_ = cluster;
        bytes_.resize(bytes_.size() + geometry_.cluster_bytes());
        return std::span(bytes_).last(geometry_.cluster_bytes());
    }

    Result<void> finish() {
        if (bytes_.empty()) return {};
        const HostOffset at = geometry_.offset_of(first_);
        TRY(storage_.write(at, bytes_));
        storage_.start_writeback(HostRange(at, bytes_.size()));
        bytes_.clear();
        return {};
    }

  private:
    static constexpr std::uint64_t batch_bytes = 2 * MiB;

    Storage& storage_;
    const Geometry& geometry_;
    std::uint64_t first_ = 0;
    Bytes bytes_;
};

void fill_block(std::span<std::byte> block, unsigned order, std::uint64_t first, std::uint64_t entries,
                const ClusterCounts& counts) {
    for (std::uint64_t entry = 0; entry < entries;) {
        const auto narrow = counts.narrow(first + entry);
        if (!narrow.empty()) {
            const auto part = narrow.first(std::min<std::uint64_t>(narrow.size(), entries - entry));
            encode_refcounts(block, order, entry, part);
            entry += part.size();
        } else {
            set_refcount(block, order, entry, counts.get(first + entry));
            ++entry;
        }
    }
}

void drop_references(ClusterCounts& counts, std::span<const ClusterRun> runs) {
    for (const ClusterRun& run : runs) {
        for (std::uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
            const std::uint64_t count = counts.get(cluster);
            if (count != 0) counts.set(cluster, count - 1);
        }
    }
}

}  // namespace

Result<void> write_refcount_structures(Qcow2& image, const Geometry& geometry, ClusterCounts& counts,
                                       std::span<const ClusterRun> let_go, Progress& progress) {
    Plan plan(geometry, counts);
    const std::uint64_t walks = plan.make(progress);
    drop_references(counts, let_go);
    Bytes table(plan.table().count * geometry.cluster_bytes());
    if (table.size() > refcount_table_bytes_max) {
        return failf(ErrorKind::no_space, "{}: the refcount table would exceed {} MiB",
                     printable(image.storage().name()), refcount_table_bytes_max / MiB);
    }
    const std::uint64_t entries = geometry.refcount_block_entries();
    BlockWriter writer(image.storage(), geometry);
    for (std::uint64_t i = 0; i < plan.blocks().size(); ++i) {
        if (plan.blocks()[i] == 0) continue;
        const auto block = TRY(writer.begin(plan.blocks()[i]));
        fill_block(block, geometry.refcount_order(), i * entries, entries, counts);
        store(std::span(table).subspan(i * table_entry_bytes),
              be64(geometry.offset_of(plan.blocks()[i]).bytes));
        // the writing counts as one walk more
        progress.update(walks * plan.blocks().size() + i + 1, (walks + 1) * plan.blocks().size());
    }
    TRY(writer.finish());
    TRY(image.storage().write(geometry.offset_of(plan.table().first), table));
    Header& header = image.header();
    header.geometry = geometry;
    header.refcount_table = geometry.offset_of(plan.table().first);
    header.refcount_table_clusters = static_cast<std::uint32_t>(plan.table().count);
    return {};
}

Result<void> rebuild_refcounts(Qcow2& image, ClusterCounts& counts,
                               const std::vector<std::uint64_t>& old_table) {
    const Geometry geometry = image.geometry();
    // blocks that could not be counted because their entry is damaged may still be in use until the switch
    for (const std::uint64_t entry : old_table) {
        const std::uint64_t cluster = geometry.cluster_at(HostOffset(entry & disk::offset_mask));
        const std::uint64_t end = cluster + (geometry.is_cluster_aligned(entry & disk::offset_mask) ? 1 : 2);
        for (std::uint64_t touched = cluster; touched < end; ++touched) {
            if (touched < counts.clusters() && counts.get(touched) == 0) counts.set(touched, 1);
        }
    }
    TRY(write_refcount_structures(image, geometry, counts, {}, no_progress()));
    return image.commit_header();
}

namespace {

// Blocks that several entries point to would cost more memory than the file has bytes.
Result<void> check_blocks(const Qcow2& image, const std::vector<std::uint64_t>& table) {
    std::vector<std::uint64_t> blocks;
    for (const std::uint64_t entry : table) {
        if (entry == 0) continue;
        if (!image.geometry().is_cluster_aligned(entry)) {
            return failf(ErrorKind::corrupt, "{}: refcount block offset {:#x} unaligned; run check",
                         printable(image.storage().name()), entry);
        }
        blocks.push_back(entry);
    }
    std::ranges::sort(blocks);
    const auto twice = std::ranges::adjacent_find(blocks);
    if (twice == blocks.end()) return {};
    return failf(ErrorKind::corrupt, "{}: refcount block at {:#x} is used twice; run check",
                 printable(image.storage().name()), *twice);
}

// Wrong refcounts can call a cluster free that holds metadata: new structures there would destroy the image.
Result<void> check_counted(Qcow2& image, const ClusterCounts& counts) {
    const Geometry& geometry = image.geometry();
    const auto check = [&](HostOffset at, std::uint64_t bytes, std::string_view what) -> Result<void> {
        const std::uint64_t first = geometry.cluster_at(at);
        const std::uint64_t end = first + geometry.clusters_for(bytes);
        for (std::uint64_t cluster = first; cluster < end; ++cluster) {
            if (counts.get(cluster) != 0) continue;
            return failf(ErrorKind::corrupt,
                         "{}: cluster at {:#x} counts as free, but is part of {}; run check",
                         printable(image.storage().name()), geometry.offset_of(cluster).bytes, what);
        }
        return {};
    };
    const Header& header = image.header();
    TRY(check(HostOffset(0), 1, "the image header"));
    TRY(check(header.refcount_table, header.refcount_table_clusters * geometry.cluster_bytes(),
              "the refcount table"));
    for (const std::uint64_t block : image.refcounts().table()) {
        if (block != 0) TRY(check(HostOffset(block), 1, "the refcount blocks"));
    }
    TRY(check(header.l1_table, header.l1_entries * table_entry_bytes, "the active L1 table"));
    const auto l1 = TRY(image.l1());
    for (const std::uint64_t entry : l1) {
        const HostOffset at(entry & disk::offset_mask);
        if (at.bytes != 0) TRY(check(at, 1, "the active L2 tables"));
    }
    if (header.snapshot_count == 0) return {};
    return check(header.snapshot_table, 1, "the snapshot table");
}

}  // namespace

Result<ClusterCounts> read_refcounts(Qcow2& image, std::uint64_t limit) {
    const Geometry& geometry = image.geometry();
    const std::vector<std::uint64_t>& table = image.refcounts().table();
    TRY(check_blocks(image, table));
    const std::uint64_t file_bytes = TRY(image.storage().size());
    ClusterCounts counts(geometry.clusters_for(file_bytes), limit);
    const auto table_at = [&](std::uint64_t i) {
        return table[i] != 0 ? std::optional(HostOffset(table[i])) : std::nullopt;
    };
    std::vector<std::uint64_t> decoded(geometry.refcount_block_entries());
    const auto take = [&](std::uint64_t i, std::span<std::byte> block) -> Result<void> {
        if (block.empty() || is_zero(block)) return {};
        decode_refcounts(block, geometry.refcount_order(), 0, decoded);
        const auto above = std::ranges::find_if(decoded, [&](std::uint64_t count) { return count > limit; });
        if (above != decoded.end()) {
            const auto cluster = i * decoded.size() + static_cast<std::uint64_t>(above - decoded.begin());
            return failf(ErrorKind::invalid_argument, "Cluster at offset {:#x} has a refcount of {}",
                         geometry.offset_of(cluster).bytes, *above);
        }
        counts.assign(i * decoded.size(), decoded);
        return {};
    };
    TRY(read_ahead(image.storage(), {table.size(), geometry.cluster_bytes(), table_at}, take));
    TRY(check_counted(image, counts));
    return counts;
}

}  // namespace qimg::qcow2
