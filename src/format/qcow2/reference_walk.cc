// Adding and releasing references of whole tables, in runs of neighbouring clusters.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/reference_walk.hpp"

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

// The host clusters that an entry refers to; none with an external data file.
ClusterRun referred_clusters(const Qcow2& image, const L2Entry& entry) {
    const Geometry& geometry = image.geometry();
    if (image.header().has_data_file()) return {};
    if (entry.is_compressed()) {
        const CompressedPlace place = entry.compressed(geometry);
        const std::uint64_t first = geometry.cluster_at(place.host);
        return {first, geometry.cluster_at(place.host + (place.bytes - 1)) - first + 1};
    }
    if (!entry.has_host(geometry)) return {};
    return {geometry.cluster_at(entry.host()), 1};
}

class RunCollector {
  public:
    RunCollector(Qcow2& image, ReferenceChange change, bool is_data)
        : image_(image), change_(change), is_data_(is_data) {}

    Result<void> take(ClusterRun next) {
        if (next.count == 0) return {};
        if (run_.count != 0 && next.first == run_.first + run_.count) {
            run_.count += next.count;
            return {};
        }
        TRY(finish());
        run_ = next;
        return {};
    }

    Result<void> finish() {
        const ClusterRun run = std::exchange(run_, {});
        if (run.count == 0) return {};
        if (change_ == ReferenceChange::add) return image_.refcounts().add(run);
        is_data_ ? image_.release_data(run) : image_.release_later(run);
        return {};
    }

  private:
    Qcow2& image_;
    ReferenceChange change_;
    bool is_data_;
    ClusterRun run_;
};

Result<HostOffset> checked_l2_offset(const Qcow2& image, std::uint64_t l1_entry) {
    const HostOffset at(l1_entry & disk::offset_mask);
    if (image.geometry().is_cluster_aligned(at.bytes)) return at;
    return failf(ErrorKind::corrupt, "{}: L2 table offset {:#x} unaligned; run check",
                 printable(image.storage().name()), at.bytes);
}

// The entry with the copied flag that it should have.
Result<std::uint64_t> with_copied_flag(Qcow2& image, std::uint64_t word, HostOffset host, CopiedRule flags) {
    word &= ~disk::flag_copied;
    if (flags == CopiedRule::clear) return word;
    if (image.header().has_data_file()) return word | disk::flag_copied;
    const std::uint64_t refcount = TRY(image.refcounts().get(image.geometry().cluster_at(host)));
    return refcount == 1 ? word | disk::flag_copied : word;
}

// `at` may be shared with a snapshot: the flag means nothing there, so changing it in place does no harm.
Result<void> update_table(Qcow2& image, HostOffset at, CopiedRule flags) {
    const auto table = TRY(image.l2_cache().read_for_writing(at));
    for (std::uint64_t i = 0; i < image.geometry().l2_entries(); ++i) {
        L2Entry entry = table->get(i);
        if (entry.is_compressed() || !entry.has_host(image.geometry())) continue;
        const std::uint64_t word = TRY(with_copied_flag(image, entry.word, entry.host(), flags));
        if (word == entry.word) continue;
        entry.word = word;
        image.l2_cache().set_entry(at, table, i, entry);
    }
    return {};
}

}  // namespace

Result<void> change_references(Qcow2& image, std::span<const std::uint64_t> l1, ReferenceChange change) {
    RunCollector tables(image, change, false);
    RunCollector data(image, change, true);
    for (const std::uint64_t l1_entry : l1) {
        const HostOffset at = TRY(checked_l2_offset(image, l1_entry));
        if (at.bytes == 0) continue;
        TRY(tables.take({image.geometry().cluster_at(at), 1}));
        const auto table = TRY(image.l2_cache().read(at));
        for (std::uint64_t i = 0; i < image.geometry().l2_entries(); ++i) {
            TRY(data.take(referred_clusters(image, table->get(i))));
        }
    }
    TRY(data.finish());
    return tables.finish();
}

Result<void> update_copied_flags(Qcow2& image, CopiedRule flags) {
    const auto l1 = TRY(image.l1());
    for (std::uint64_t i = 0; i < l1.size(); ++i) {
        const HostOffset at = TRY(checked_l2_offset(image, l1[i]));
        if (at.bytes == 0) continue;
        TRY(update_table(image, at, flags));
        const std::uint64_t entry = TRY(with_copied_flag(image, l1[i], at, flags));
        if (entry != l1[i]) TRY(image.set_l1_entry(i, entry));
        if (image.l2_cache().is_full()) TRY(image.flush());
    }
    return {};
}

}  // namespace qimg::qcow2
