// Gives every cluster that a table names its role, and notes the first that has two.
// SPDX-License-Identifier: Apache-2.0
#include "cluster_roles.hpp"

#include <map>
#include <set>

#include "base/endian.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/l2_entry.hpp"
#include "format/qcow2/snapshots.hpp"

namespace qimg::fuzz {

namespace {

namespace disk = qcow2::disk;

class ClusterRoles {
  public:
    explicit ClusterRoles(qcow2::Qcow2& image) : image_(image), geometry_(image.geometry()) {}

    bool collect() {
        const qcow2::Header& header = image_.header();
        if (!counts_end_with_file()) return false;
        own(HostOffset(0), 1);
        own(header.refcount_table, header.refcount_table_clusters * geometry_.cluster_bytes());
        collect_refcount_blocks();
        collect_l1(header.l1_table, header.l1_entries);
        const auto snapshots = qcow2::read_snapshots(image_.storage(), header);
        if (!snapshots) return false;
        if (!snapshots->empty()) own(header.snapshot_table, qcow2::snapshot_table_bytes(*snapshots));
        for (const qcow2::Snapshot& snapshot : *snapshots)
            collect_l1(snapshot.l1_table, snapshot.l1_entries);
        collect_bitmaps();
        return is_plain_;
    }

  private:
    enum class Role { sole, l2_table, guest_data, compressed_data };

    // What counts beyond the file's end becomes a leak once the file is longer.
    bool counts_end_with_file() {
        const auto file_bytes = image_.storage().size();
        if (!file_bytes || !image_.refcounts().load()) return false;
        const auto end = image_.refcounts().end_of_used_clusters();
        return end && *end <= geometry_.clusters_for(*file_bytes);
    }
    void note(std::uint64_t cluster, Role role) {
        const auto [place, is_new] = roles_.emplace(cluster, role);
        if (!is_new && (role == Role::sole || place->second != role)) is_plain_ = false;
    }
    // What snapshots may share with the disk and with each other, but no tree of tables has twice: the copied
    // flag of the second would be wrong once the first has gone.
    void note_in_tree(HostOffset at, Role role) {
        note(geometry_.cluster_at(at), role);
        if (!in_tree_.insert(at.bytes).second) is_plain_ = false;
    }
    // For one purpose in one place.
    void own(HostOffset at, std::uint64_t bytes) { note_range(at, bytes, Role::sole); }

    void note_range(HostOffset at, std::uint64_t bytes, Role role) {
        if (bytes == 0) return;
        for (std::uint64_t i = geometry_.cluster_at(at); i <= geometry_.cluster_at(at + (bytes - 1)); ++i)
            note(i, role);
    }

    std::vector<std::uint64_t> table_at(HostOffset at, std::uint64_t entries) {
        auto table = qcow2::read_l1_table(image_.storage(), geometry_, at, entries);
        if (!table) is_plain_ = false;
        return table ? std::move(*table) : std::vector<std::uint64_t>();
    }

    void collect_refcount_blocks() {
        const qcow2::Header& header = image_.header();
        const std::uint64_t bytes = header.refcount_table_clusters * geometry_.cluster_bytes();
        for (const std::uint64_t entry : table_at(header.refcount_table, bytes / sizeof(be64)))
            if (entry != 0) own(HostOffset(entry & disk::refcount_offset_mask), 1);
    }

    void collect_l1(HostOffset at, std::uint64_t entries) {
        own(at, entries * sizeof(be64));
        in_tree_.clear();
        for (const std::uint64_t entry : table_at(at, entries)) {
            const HostOffset table(entry & disk::offset_mask);
            if (table.bytes == 0) continue;
            note_in_tree(table, Role::l2_table);
            const auto l2 = image_.l2_cache().read(table);
            if (!l2) is_plain_ = false;
            if (l2) collect_l2(**l2);
        }
    }

    void collect_l2(const qcow2::L2Table& table) {
        for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
            const qcow2::L2Entry entry = table.get(i);
            if (entry.is_compressed()) {
                const qcow2::CompressedPlace place = entry.compressed(geometry_);
                note_range(place.host, place.bytes, Role::compressed_data);
            } else if (entry.has_host(geometry_) && !geometry_.external_data()) {
                note_in_tree(entry.host(), Role::guest_data);
            }
        }
    }

    void collect_bitmaps() {
        const auto directory = qcow2::read_bitmaps(image_.storage(), image_.header());
        if (!directory) return;
        own(directory->at, directory->bytes);
        for (const qcow2::Bitmap& bitmap : directory->bitmaps) {
            own(bitmap.table, bitmap.table_entries * sizeof(be64));
            for (const std::uint64_t entry : table_at(bitmap.table, bitmap.table_entries))
                if ((entry & disk::offset_mask) != 0) own(HostOffset(entry & disk::offset_mask), 1);
        }
    }

    qcow2::Qcow2& image_;
    const qcow2::Geometry geometry_;
    std::map<std::uint64_t, Role> roles_;
    std::set<std::uint64_t> in_tree_;
    bool is_plain_ = true;
};

}  // namespace

bool has_plain_roles(qcow2::Qcow2& image) {
    return ClusterRoles(image).collect();
}

}  // namespace qimg::fuzz
