// BitmapContent: the bits of one bitmap. In memory are its table and the parts (one cluster of bits each)
// that changed; everything else stays in the file until somebody asks.
// qcow2 "Bitmap table", "Bitmap data".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "base/bytes.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg::qcow2 {

class BitmapContent {
  public:
    // A new one with no bit set. The caller has checked that this many bits are not too many.
    static BitmapContent empty(const Geometry& geometry, unsigned granularity_bits, std::uint64_t disk_bytes);
    // Reads the table; `storage` must stay for the parts. Errors: corrupt when the directory or the table
    // breaks a rule, so that nothing of it can be believed.
    static Result<BitmapContent> load(const Storage& storage, const Header& header, const Bitmap& bitmap);

    std::uint64_t disk_bytes() const { return disk_bytes_; }
    bool is_changed() const { return changed_; }

    // What was set may include more than `range`: whole units of the granularity.
    Result<void> set(GuestRange range);
    void clear();
    // Sets what is set in `source`, which is for a disk of the same size and may have another granularity.
    Result<void> merge(const BitmapContent& source);
    // For a longer or shorter disk: bits of the added part are clear.
    Result<void> resize(std::uint64_t disk_bytes);
    // Calls visit for each longest run of set bits, in order, cut at the disk's end.
    Result<void> for_each_run(const std::function<Result<void>(GuestRange)>& visit) const;

    // All of it counts as changed: it goes to new clusters with the next write().
    Result<void> renew();

    // Changed parts and the table to new clusters; `bitmap` then says where. What the file had stays as it
    // is: nobody knows of the new ones until the directory does.
    Result<void> write(Qcow2& image, Bitmap& bitmap);
    // The clusters that the file's version used and this one does not.
    std::vector<ClusterRun> replaced_clusters() const;

  private:
    BitmapContent(const Geometry& geometry, unsigned granularity_bits, std::uint64_t disk_bytes)
        : geometry_(geometry), granularity_bits_(granularity_bits), disk_bytes_(disk_bytes) {}

    std::uint64_t part_bits() const { return geometry_.cluster_bytes() * 8; }
    Result<Bytes> read_part(std::uint64_t index) const;
    Result<Bytes*> part_for_change(std::uint64_t index);
    void fill_part(std::uint64_t index);
    Result<void> merge_parts(const BitmapContent& source);

    const Storage* storage_ = nullptr;  // null: not in any file yet
    Geometry geometry_;
    unsigned granularity_bits_;
    std::uint64_t disk_bytes_;
    std::vector<std::uint64_t> entries_;    // as in a table: 0, all ones, or where the part is
    std::map<std::uint64_t, Bytes> parts_;  // changed ones, by index; they overrule the entry
    HostOffset old_table_;                  // what the file has
    std::vector<std::uint64_t> old_entries_;
    bool changed_ = false;
};

}  // namespace qimg::qcow2
