// Walking the L2 tables of all L1 tables, each once; changed tables are written in place.
//
// An L2 table that several L1 tables share stays shared: what its entries mean does not change. A cluster that
// one of them refers to has as many references as the table.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/zero_expansion.hpp"

#include <cerrno>
#include <functional>
#include <unordered_set>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg::qcow2 {

namespace {

// As C's %#x has it: a zero stands without 0x.
std::string hex(std::uint64_t number) {
    return number == 0 ? "0" : fmt::format("{:#x}", number);
}

std::unexpected<Error> broken(std::string message) {
    return fail(ErrorKind::corrupt, std::move(message), EIO);
}

using Visit = std::function<Result<void>(HostOffset at)>;

bool is_zero(const L2Entry& entry) {
    return !entry.is_compressed() && (entry.word & disk::flag_zero) != 0;
}

// Each L2 table of the disk and its snapshots once.
Result<void> visit_l2_tables(Qcow2& image, Progress& progress, const Visit& visit) {
    const Geometry& geometry = image.geometry();
    const std::vector<Snapshot> snapshots = TRY(read_snapshots(image.storage(), image.header()));
    std::uint64_t total = image.header().l1_entries;
    for (const Snapshot& snapshot : snapshots)
        total += snapshot.l1_entries;
    std::unordered_set<std::uint64_t> seen;
    std::uint64_t done = 0;
    const auto visit_all = [&](std::span<const std::uint64_t> l1) -> Result<void> {
        for (std::size_t i = 0; i < l1.size(); ++i) {
            const HostOffset at(l1[i] & disk::offset_mask);
            if (!geometry.is_cluster_aligned(at.bytes)) {
                return broken(
                    fmt::format("L2 table offset {:#x} unaligned (L1 index: {})", at.bytes, hex(i)));
            }
            if (at.bytes != 0 && seen.insert(at.bytes).second) TRY(visit(at));
            progress.update(++done, total);
        }
        return {};
    };
    const auto active = TRY(image.l1());
    TRY(visit_all(std::vector<std::uint64_t>(active.begin(), active.end())));
    for (const Snapshot& snapshot : snapshots) {
        const auto l1 = TRY(read_snapshot_l1(image.storage(), geometry, snapshot));
        TRY(visit_all(l1));
    }
    return {};
}

// One table's zero clusters.
class TableExpansion {
  public:
    TableExpansion(Qcow2& image, HostOffset at) : image_(image), geometry_(image.geometry()), at_(at) {}

    Result<void> run();

  private:
    Result<void> sort_out(const L2Table& table);
    Result<void> make_fresh();
    Result<void> clear_kept() const;

    Qcow2& image_;
    const Geometry& geometry_;
    HostOffset at_;
    std::uint64_t references_ = 1;      // to the table, and thus to each cluster that is its alone
    std::vector<std::uint64_t> kept_;   // entries whose space is used
    std::vector<std::uint64_t> fresh_;  // entries that need a cluster
    std::vector<HostOffset> kept_at_;   // where that space is
    HostOffset fresh_at_;               // a run of clusters for fresh_
};

// Which entries keep their space and which need a new cluster; space that others refer to, too, is given back.
Result<void> TableExpansion::sort_out(const L2Table& table) {
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
        const L2Entry entry = table.get(i);
        if (!is_zero(entry)) continue;
        if (!geometry_.is_cluster_aligned(entry.host().bytes)) {
            return broken(
                fmt::format("Cluster allocation offset {:#x} unaligned (L2 offset: {:#x}, L2 index: {})",
                            entry.host().bytes, at_.bytes, hex(i)));
        }
        if (entry.has_host(geometry_)) {
            const ClusterRun cluster{geometry_.cluster_at(entry.host()), 1};
            const std::uint64_t refcount = TRY(image_.refcounts().get(cluster.first));
            if (refcount == references_) {
                kept_.push_back(i);
                kept_at_.push_back(entry.host());
                continue;
            }
            for (std::uint64_t times = 0; times < references_; ++times)
                image_.release_later(cluster);
        }
        if (image_.backing_file()) fresh_.push_back(i);
    }
    return {};
}

// Nobody reads this space before the table is written, so it may be cleared at once.
Result<void> TableExpansion::clear_kept() const {
    for (std::size_t i = 0; i < kept_at_.size();) {
        HostRange run(kept_at_[i], geometry_.cluster_bytes());
        for (++i; i < kept_at_.size() && kept_at_[i] == run.end(); ++i)
            run.length += geometry_.cluster_bytes();
        TRY(image_.check_in_place(run));
        TRY(image_.storage().write_zeroes(run));
    }
    return {};
}

Result<void> TableExpansion::make_fresh() {
    if (fresh_.empty()) return {};
    const ClusterRun run = TRY(image_.allocate_clusters(fresh_.size()));
    for (std::uint64_t times = 1; times < references_; ++times)
        TRY(image_.refcounts().add(run));
    fresh_at_ = geometry_.offset_of(run.first);
    return image_.storage().write_zeroes(HostRange(fresh_at_, run.count * geometry_.cluster_bytes()));
}

Result<void> TableExpansion::run() {
    const auto old = TRY(image_.l2_cache().read(at_));
    references_ = TRY(image_.refcounts().get(geometry_.cluster_at(at_)));
    TRY(sort_out(*old));
    TRY(clear_kept());
    TRY(make_fresh());
    auto table = std::make_shared<L2Table>(*old);
    bool changed = false;
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
        if (!is_zero(old->get(i))) continue;
        table->set(i, L2Entry{});
        changed = true;
    }
    if (!changed) return {};
    const std::uint64_t flags = references_ == 1 ? disk::flag_copied : 0;
    for (std::size_t i = 0; i < kept_.size(); ++i)
        table->set(kept_[i], L2Entry{kept_at_[i].bytes | flags, 0});
    for (std::size_t i = 0; i < fresh_.size(); ++i)
        table->set(fresh_[i], L2Entry{(fresh_at_.bytes + i * geometry_.cluster_bytes()) | flags, 0});
    image_.l2_cache().insert_new(at_, table);
    return image_.l2_cache().is_full() ? image_.flush() : Result<void>();
}

}  // namespace

Result<void> expand_zero_clusters(Qcow2& image, Progress& progress) {
    TRY(image.prepare_changing());
    const auto done =
        visit_l2_tables(image, progress, [&](HostOffset at) { return TableExpansion(image, at).run(); });
    if (done) return image.flush();
    if (done.error().system_errno == EIO && done.error().kind == ErrorKind::corrupt) {
        image.header().incompatible |= disk::incompatible_corrupt;
        TRY(image.commit_header());
    }
    return done;
}

Result<bool> has_compressed_clusters(Qcow2& image) {
    bool found = false;
    const auto look = [&](HostOffset at) -> Result<void> {
        if (found) return {};
        const auto table = TRY(image.l2_cache().read(at));
        for (std::uint64_t i = 0; i < image.geometry().l2_entries() && !found; ++i)
            found = table->get(i).is_compressed();
        return {};
    };
    TRY(visit_l2_tables(image, no_progress(), look));
    return found;
}

}  // namespace qimg::qcow2
