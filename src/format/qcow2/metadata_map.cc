// Looking up metadata by cluster.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/metadata_map.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace qimg::qcow2 {

std::string_view name_of(MetadataKind kind) {
    switch (kind) {
        case MetadataKind::header:
            return "qcow2_header";
        case MetadataKind::active_l1:
            return "active L1 table";
        case MetadataKind::active_l2:
            return "active L2 table";
        case MetadataKind::refcount_table:
            return "refcount table";
        case MetadataKind::refcount_block:
            return "refcount block";
        case MetadataKind::snapshot_table:
            return "snapshot table";
        case MetadataKind::bitmap_directory:
            return "bitmap directory";
        case MetadataKind::inactive_l1:
            break;
    }
    return "inactive L1 table";
}

void MetadataMap::load(const Geometry& geometry, std::span<const std::uint64_t> l1,
                       std::span<const std::uint64_t> refcount_table) {
    tables_.clear();
    made_l2_.clear();
    for (const std::uint64_t entry : l1) {
        const HostOffset at(entry & disk::offset_mask);
        if (at.bytes != 0) tables_.push_back({geometry.cluster_at(at), MetadataKind::active_l2, true});
    }
    for (const std::uint64_t entry : refcount_table) {
        if (entry == 0) continue;
        tables_.push_back({geometry.cluster_at(HostOffset(entry)), MetadataKind::refcount_block, true});
    }
    std::ranges::sort(tables_, {}, &Table::cluster);
}

void MetadataMap::set_snapshots(const Geometry& geometry, std::span<const Snapshot> snapshots,
                                std::uint64_t table_bytes) {
    snapshot_bytes_ = table_bytes;
    std::vector<Area> areas;
    for (const Snapshot& snapshot : snapshots) {
        const std::uint64_t first = geometry.cluster_at(snapshot.l1_table);
        const std::uint64_t bytes = snapshot.l1_entries * table_entry_bytes;
        // an empty one lies nowhere, though it may name a place
        if (bytes == 0) continue;
        areas.push_back({first, first + geometry.clusters_for(bytes), MetadataKind::inactive_l1});
    }
    std::ranges::sort(areas, {}, &Area::first);
    // joined where they overlap, so that the one before a cluster's successor tells about the cluster
    inactive_l1_.clear();
    for (const Area& area : areas) {
        if (!inactive_l1_.empty() && area.first <= inactive_l1_.back().end) {
            inactive_l1_.back().end = std::max(inactive_l1_.back().end, area.end);
        } else {
            inactive_l1_.push_back(area);
        }
    }
}

void MetadataMap::forget(std::uint64_t cluster) {
    made_l2_.erase(cluster);
    auto table = std::ranges::lower_bound(tables_, cluster, {}, &Table::cluster);
    for (; table != tables_.end() && table->cluster == cluster; ++table)
        table->in_use = false;
}

// Areas that an image does not have are empty.
std::array<MetadataMap::Area, 5> MetadataMap::areas_named_by(const Header& header,
                                                             std::uint64_t snapshot_bytes) {
    const Geometry& geometry = header.geometry;
    const auto area = [&](HostOffset at, std::uint64_t bytes, MetadataKind kind) {
        const std::uint64_t first = geometry.cluster_at(at);
        return Area{first, first + geometry.clusters_for(bytes), kind};
    };
    const std::uint64_t table_bytes = header.refcount_table_clusters * geometry.cluster_bytes();
    disk::BitmapsExtension bitmaps{};
    const Extension* extension = header.has_bitmaps() ? header.find(disk::extension_bitmaps) : nullptr;
    if (extension != nullptr && extension->data.size() == sizeof(bitmaps))
        bitmaps = qimg::load<disk::BitmapsExtension>(extension->data);
    return {
        Area{0, 1, MetadataKind::header},
        area(header.l1_table, header.l1_entries * table_entry_bytes, MetadataKind::active_l1),
        area(header.refcount_table, table_bytes, MetadataKind::refcount_table),
        area(header.snapshot_table, header.snapshot_count == 0 ? 0 : snapshot_bytes,
             MetadataKind::snapshot_table),
        area(HostOffset(bitmaps.directory_offset), bitmaps.directory_size, MetadataKind::bitmap_directory)};
}

std::optional<MetadataKind> MetadataMap::find_in(std::span<const Area> areas, ClusterRun run) {
    for (const Area& area : areas) {
        // a place without anything in it is free: headers keep offsets of tables that are gone
        if (area.first == area.end) continue;
        if (area.first < run.first + run.count && run.first < area.end) return area.kind;
    }
    return std::nullopt;
}

std::optional<MetadataKind> MetadataMap::find_named_by_header(ClusterRun run, const Header& header) {
    return find_in(areas_named_by(header, 1), run);
}

const MetadataMap::Table* MetadataMap::first_table_in(ClusterRun run, bool with_l2) const {
    auto table = std::ranges::lower_bound(tables_, run.first, {}, &Table::cluster);
    for (; table != tables_.end() && table->cluster < run.first + run.count; ++table) {
        if (table->in_use && (with_l2 || table->kind != MetadataKind::active_l2)) return &*table;
    }
    return nullptr;
}

std::optional<MetadataKind> MetadataMap::find_beside_l2(ClusterRun run, const Header& header) const {
    if (const auto kind = find_in(areas_named_by(header, snapshot_bytes_), run)) return kind;
    const std::uint64_t end = run.first + run.count;
    const auto after = std::ranges::lower_bound(inactive_l1_, end, {}, &Area::first);
    if (after != inactive_l1_.begin() && std::prev(after)->end > run.first) return MetadataKind::inactive_l1;
    if (const Table* table = first_table_in(run, false)) return table->kind;
    return std::nullopt;
}

std::optional<MetadataKind> MetadataMap::find(ClusterRun run, const Header& header) const {
    if (const auto kind = find_beside_l2(run, header)) return kind;
    if (const Table* table = first_table_in(run, true)) return table->kind;
    const auto made = made_l2_.lower_bound(run.first);
    if (made != made_l2_.end() && *made < run.first + run.count) return MetadataKind::active_l2;
    return std::nullopt;
}

Result<void> MetadataMap::check_disjoint(const Header& header, std::string_view file) const {
    const auto named = areas_named_by(header, snapshot_bytes_);
    std::vector<Area> areas(named.begin(), named.end());
    std::erase_if(areas, [](const Area& area) { return area.first == area.end; });
    for (const Table& table : tables_) {
        if (table.kind == MetadataKind::refcount_block)
            areas.push_back({table.cluster, table.cluster + 1, table.kind});
    }
    std::ranges::sort(areas, {}, &Area::first);
    for (std::size_t i = 1; i < areas.size(); ++i) {
        if (areas[i].first >= areas[i - 1].end) continue;
        return failf(ErrorKind::corrupt,
                     "{}: Preventing invalid write on metadata ({} at {:#x} overlaps with {}); nothing was "
                     "changed, run check",
                     printable(file), name_of(areas[i].kind), header.geometry.offset_of(areas[i].first).bytes,
                     name_of(areas[i - 1].kind));
    }
    return {};
}

}  // namespace qimg::qcow2
