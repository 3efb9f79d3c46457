// Changing what guests see: space for data, zeroes, discards, compressed clusters.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/qcow2.hpp"

namespace qimg::qcow2 {

namespace {

// The subclusters of `cluster` that `range` covers, as bits of the "allocated" half.
std::uint64_t covered_subclusters(const Geometry& geometry, GuestOffset cluster, GuestRange range) {
    const GuestRange part = intersection(range, GuestRange(cluster, geometry.cluster_bytes()));
    const std::uint64_t unit = geometry.subcluster_bytes();
    const auto first = static_cast<unsigned>((part.start - cluster) / unit);
    const auto end = static_cast<unsigned>(divide_up(part.end() - cluster, unit));
    return subcluster_mask(first, end - first);
}

// Data that a new host cluster would have to take along.
bool holds_data(const L2Entry& entry) {
    return entry.is_compressed() || (entry.bitmap & all_subclusters_allocated) != 0;
}

}  // namespace

// A host cluster that only this entry refers to: what lies in it may be overwritten.
bool Qcow2::is_own(const L2Entry& entry) const {
    return entry.has_host(geometry()) && entry.is_copied();
}

Result<WritableTable> Qcow2::writable_table(GuestOffset at) {
    const std::uint64_t index = geometry().l1_index(at);
    const auto l1_table = TRY(l1());
    const std::uint64_t entry = l1_table[index];
    const HostOffset old(entry & disk::offset_mask);
    if (l2_cache_.is_full()) TRY(write_metadata());
    if ((entry & disk::flag_copied) != 0 && old.bytes != 0) {
        TRY(check_l2_offset(index, entry));
        TRY(check_table_in_place(old));
        std::shared_ptr<L2Table> own = TRY(l2_cache_.read_for_writing(old));
        return WritableTable{old, std::move(own)};
    }
    auto table = std::make_shared<L2Table>(geometry());
    if (old.bytes != 0) {
        TRY(check_l2_offset(index, entry));
        const auto shared = TRY(l2_cache_.read(old));
        std::copy(shared->bytes().begin(), shared->bytes().end(), table->bytes().begin());
    }
    const ClusterRun place = TRY(allocate_clusters(1));
    const HostOffset host = geometry().offset_of(place.first);
    l2_cache_.insert_new(host, table);
    metadata_map_.add_l2(place.first);
    TRY(set_l1_entry(index, host.bytes | disk::flag_copied));
    if (old.bytes != 0) release_later({geometry().cluster_at(old), 1});
    return WritableTable{host, std::move(table)};
}

Result<Reservation> Qcow2::reserve(GuestRange range) {
    TRY(prepare_changing());
    const WritableTable place = TRY(writable_table(range.start));
    if (is_own(place.table->get(geometry().l2_index(range.start))))
        return reserve_in_place(*place.table, range);
    return reserve_fresh(*place.table, range);
}

// The host cluster is there; publishing will only say that it holds data.
Result<Reservation> Qcow2::reserve_in_place(const L2Table& table, GuestRange range) {
    const std::uint64_t first = geometry().l2_index(range.start);
    const GuestOffset cluster(round_down(range.start.bytes, cluster_bytes()));
    const L2Entry entry = table.get(first);
    if (geometry().extended_l2()) {
        const std::uint64_t unit = subcluster_bytes();
        const GuestOffset start(round_down(range.start.bytes, unit));
        GuestOffset end(round_up(range.end().bytes, unit));
        end = std::min(end, cluster + cluster_bytes());
        // up to the next subcluster that holds data: that one is written in place
        GuestOffset stop = start + unit;
        while (stop < end &&
               entry.subcluster(static_cast<unsigned>((stop - cluster) / unit)) != SubclusterKind::data) {
            stop += unit;
        }
        TRY(check_in_place(HostRange(entry.host(), cluster_bytes())));
        return Reservation{GuestRange::between(start, stop), entry.host() + (start - cluster), false};
    }
    std::uint64_t count = 1;
    const std::uint64_t wanted =
        std::min(divide_up(range.end() - cluster, cluster_bytes()), geometry().l2_entries() - first);
    for (; count < wanted; ++count) {
        const L2Entry next = table.get(first + count);
        const bool same_run = is_own(next) && next.kind(geometry()) == ClusterKind::zero_allocated &&
                              next.host() == entry.host() + count * cluster_bytes();
        if (!same_run) break;
    }
    TRY(check_in_place(HostRange(entry.host(), count * cluster_bytes())));
    return Reservation{GuestRange(cluster, count * cluster_bytes()), entry.host(), false};
}

Result<Reservation> Qcow2::reserve_fresh(const L2Table& table, GuestRange range) {
    const std::uint64_t first = geometry().l2_index(range.start);
    const GuestOffset cluster(round_down(range.start.bytes, cluster_bytes()));
    std::uint64_t count = 1;
    // with subclusters, a cluster with data must be copied whole, and is dealt with alone
    const bool copy_whole = !geometry().extended_l2() || holds_data(table.get(first));
    if (!geometry().extended_l2() || !copy_whole) {
        const std::uint64_t wanted =
            std::min(divide_up(range.end() - cluster, cluster_bytes()), geometry().l2_entries() - first);
        while (count < wanted) {
            const L2Entry next = table.get(first + count);
            if (is_own(next) || (geometry().extended_l2() && holds_data(next))) break;
            ++count;
        }
    }
    HostOffset host(cluster.bytes);  // where an external data file has it
    if (!header_.has_data_file()) {
        const ClusterRun run = TRY(refcounts_.allocate_some(count));
        TRY(check_not_metadata(run));
        count = run.count;
        host = geometry().offset_of(run.first);
    }
    GuestRange cover(cluster, count * cluster_bytes());
    if (!copy_whole) {
        const std::uint64_t unit = subcluster_bytes();
        const auto wanted = GuestRange::between(GuestOffset(round_down(range.start.bytes, unit)),
                                                GuestOffset(round_up(range.end().bytes, unit)));
        cover = intersection(cover, wanted);
    }
    return Reservation{cover, host + (cover.start - cluster), true};
}

Result<void> Qcow2::publish(const Reservation& reservation) {
    const GuestRange cover = reservation.cover;
    const WritableTable place = TRY(writable_table(cover.start));
    GuestOffset cluster(round_down(cover.start.bytes, cluster_bytes()));
    // host offset of the first cluster, of which the cover may leave out the beginning
    HostOffset host = reservation.host - (cover.start - cluster);
    const std::uint64_t first = geometry().l2_index(cluster);
    std::uint64_t index = first;
    for (; cluster < cover.end(); cluster += cluster_bytes(), host += cluster_bytes(), ++index) {
        const L2Entry old = place.table->get(index);
        L2Entry entry{host.bytes | disk::flag_copied, 0};
        if (geometry().extended_l2()) {
            const std::uint64_t covered = covered_subclusters(geometry(), cluster, cover);
            const std::uint64_t kept = old.is_compressed() ? 0 : old.bitmap;
            entry.bitmap = (kept & ~(covered << subclusters_per_cluster)) | covered;
        }
        place.table->set(index, entry);
        // most had no cluster: this loop runs once for each cluster of a new disk
        if (reservation.fresh && old != L2Entry{}) release_entry(old);
    }
    l2_cache_.mark_changed(place.at, place.table, first, index - first);
    return {};
}

Result<void> Qcow2::publish_place(const Reservation& reservation) {
    if (!reservation.fresh) return {};
    const WritableTable place = TRY(writable_table(reservation.cover.start));
    GuestOffset cluster(round_down(reservation.cover.start.bytes, cluster_bytes()));
    HostOffset host = reservation.host - (reservation.cover.start - cluster);
    for (; cluster < reservation.cover.end(); cluster += cluster_bytes(), host += cluster_bytes()) {
        const std::uint64_t index = geometry().l2_index(cluster);
        const L2Entry old = place.table->get(index);
        l2_cache_.set_entry(place.at, place.table, index,
                            L2Entry{host.bytes | disk::flag_copied, old.bitmap});
    }
    return {};
}

void Qcow2::cancel(const Reservation& reservation) {
    if (!reservation.fresh || header_.has_data_file()) return;
    const std::uint64_t first = geometry().cluster_at(reservation.host);
    const std::uint64_t last = geometry().cluster_at(reservation.host + (reservation.cover.length - 1));
    // nothing points there, so it is free at once; if even that fails, the clusters leak
    static_cast<void>(refcounts_.subtract({first, last - first + 1}));
}

void Qcow2::release_entry(const L2Entry& entry) {
    if (header_.has_data_file()) return;
    if (entry.is_compressed()) {
        const CompressedPlace place = entry.compressed(geometry());
        release_data(clusters_of(HostRange(place.host, place.bytes)));
    } else if (entry.has_host(geometry())) {
        release_data({geometry().cluster_at(entry.host()), 1});
    }
}

void Qcow2::release_data(ClusterRun run) {
    if (!metadata_map_.find(run, header_)) release_later(run);
}

// Compressed clusters lie one behind the other, several to a host cluster; each counts as a reference to the
// host clusters that it touches.
Result<HostOffset> Qcow2::place_compressed(std::uint64_t bytes) {
    const std::uint64_t used = compressed_end_ % cluster_bytes();
    const std::uint64_t room = used == 0 ? 0 : cluster_bytes() - used;
    const std::uint64_t tail = compressed_end_ / cluster_bytes();
    const std::uint64_t tail_refcount = TRY(refcounts_.get(tail));
    const bool can_share = room != 0 && tail_refcount < geometry().refcount_max();
    HostOffset at(compressed_end_);
    if (can_share && bytes <= room) {
        TRY(refcounts_.add({tail, 1}));
    } else {
        const ClusterRun fresh = TRY(allocate_clusters(1));
        if (can_share && fresh.first == tail + 1) {
            TRY(refcounts_.add({tail, 1}));
        } else {
            at = geometry().offset_of(fresh.first);
        }
    }
    compressed_end_ = at.bytes + bytes;
    return at;
}

Result<void> Qcow2::write_compressed(GuestOffset cluster, std::span<const std::byte> data) {
    return store_compressed(cluster, data.size(),
                            [&](HostOffset at) -> Result<void> { return storage_->write(at, data); });
}

Result<HostOffset> Qcow2::publish_compressed(GuestOffset cluster, std::uint64_t bytes) {
    HostOffset place;
    TRY(store_compressed(cluster, bytes, [&](HostOffset at) -> Result<void> {
        place = at;
        return {};
    }));
    return place;
}

// `write` brings the bytes there, as far as that is done here.
template <class Write>
Result<void> Qcow2::store_compressed(GuestOffset cluster, std::uint64_t bytes, Write write) {
    TRY(prepare_writing(GuestRange(cluster, cluster_bytes())));
    if (header_.has_data_file()) {
        return fail(ErrorKind::unsupported,
                    "An image with an external data file cannot hold compressed clusters", EOPNOTSUPP);
    }
    const WritableTable place = TRY(writable_table(cluster));
    const HostOffset at = TRY(place_compressed(bytes));
    TRY(write(at));
    const std::uint64_t index = geometry().l2_index(cluster);
    const L2Entry old = place.table->get(index);
    l2_cache_.set_entry(place.at, place.table, index, L2Entry::for_compressed(geometry(), at, bytes));
    release_entry(old);
    return {};
}

Result<bool> Qcow2::zero(GuestRange range, bool keep_space) {
    // a raw data file must read as zeroes by itself, so they have to be written there
    if (header_.version < 3 || header_.data_file_raw()) return false;
    TRY(prepare_writing(range));
    for (GuestOffset at = range.start; at < range.end();) {
        const WritableTable place = TRY(writable_table(at));
        const GuestOffset next_cluster(round_down(at.bytes, cluster_bytes()) + cluster_bytes());
        const GuestRange part = GuestRange::between(at, std::min(next_cluster, range.end()));
        const bool done = TRY(zero_cluster(place, part, keep_space));
        if (!done) return false;
        at = part.end();
    }
    return true;
}

// `part` lies in one cluster and covers whole subclusters, or ends with the disk.
Result<bool> Qcow2::zero_cluster(const WritableTable& place, GuestRange part, bool keep_space) {
    const std::uint64_t index = geometry().l2_index(part.start);
    const L2Entry old = place.table->get(index);
    const GuestOffset cluster(round_down(part.start.bytes, cluster_bytes()));
    const bool whole =
        part.start == cluster && (part.length == cluster_bytes() || part.end().bytes == header_.size);
    if (whole) {
        const bool keep = keep_space && is_own(old);
        L2Entry entry{keep ? old.word & ~disk::flag_zero : 0,
                      geometry().extended_l2() ? all_subclusters_zero : 0};
        if (!geometry().extended_l2()) entry.word |= disk::flag_zero;
        if (entry == old) return true;
        l2_cache_.set_entry(place.at, place.table, index, entry);
        if (!keep) release_entry(old);
        return true;
    }
    if (old.is_compressed()) return false;
    const std::uint64_t covered = covered_subclusters(geometry(), cluster, part);
    L2Entry entry = old;
    entry.bitmap = (old.bitmap & ~covered) | covered << subclusters_per_cluster;
    if (!(entry == old)) l2_cache_.set_entry(place.at, place.table, index, entry);
    return true;
}

Result<void> Qcow2::discard(GuestRange range) {
    // below version 3 there is no entry that hides the backing file, and a raw data file stays as it is
    if ((header_.version < 3 && header_.backing_file) || header_.data_file_raw()) return {};
    TRY(prepare_writing(range));
    const auto table = TRY(l1());
    for (GuestOffset at = range.start; at < range.end(); at += cluster_bytes()) {
        const std::uint64_t l1_entry = table[geometry().l1_index(at)];
        if ((l1_entry & disk::offset_mask) == 0 && !header_.backing_file) {
            // nothing to give back as far as this table reaches
            at = GuestOffset(round_down(at.bytes, geometry().l2_reach_bytes()) + geometry().l2_reach_bytes() -
                             cluster_bytes());
            continue;
        }
        const WritableTable place = TRY(writable_table(at));
        const std::uint64_t index = geometry().l2_index(at);
        const L2Entry old = place.table->get(index);
        const bool is_allocated =
            old.is_compressed() || old.has_host(geometry()) || old.bitmap != 0 || old.word != 0;
        if (!is_allocated && !header_.backing_file) continue;
        L2Entry entry;
        if (geometry().extended_l2()) {
            entry.bitmap = all_subclusters_zero;
        } else if (header_.version >= 3) {
            entry.word = disk::flag_zero;
        }
        if (entry == old) continue;
        l2_cache_.set_entry(place.at, place.table, index, entry);
        release_entry(old);
    }
    return {};
}

}  // namespace qimg::qcow2
