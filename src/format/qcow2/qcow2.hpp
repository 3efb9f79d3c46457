// Qcow2: the format proper. Puts header, L1 and L2 tables and refcounts together.
//
// Changes gather in memory and reach the file in flush(), in an order in which every intermediate state is a
// whole image: see write_metadata() in metadata.cc.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "format/format.hpp"
#include "format/qcow2/changed_ranges.hpp"
#include "format/qcow2/header.hpp"
#include "format/qcow2/l2_cache.hpp"
#include "format/qcow2/metadata_map.hpp"
#include "format/qcow2/refcounts.hpp"

namespace qimg::qcow2 {

// Opens the external data file; `name` is what the header says, if it says anything. Null when the caller does
// not know the file either.
using DataFileOpener =
    std::function<Result<std::unique_ptr<Storage>>(const std::optional<std::string>& name)>;

struct Qcow2Options {
    DataFileOpener open_data_file;  // called only for images that have one
    bool with_guest_data = true;    // false: only what tables tell; a data file is left alone
    bool for_check = false;         // take a snapshot table that breaks its rules
    bool writable = false;          // guest data is to be written: not to an image that is marked corrupt
    std::function<void(const std::string&)> on_finding = {};  // of the repair of an image that is dirty
    // Flush between the steps of write_metadata. Only a file that nobody can see before it is complete may
    // do without.
    bool ordered = true;
};

// A L2 table that only the active L1 table refers to.
struct WritableTable {
    HostOffset at;
    std::shared_ptr<L2Table> table;
};

class Qcow2 final : public Format {
  public:
    // Reads and checks the header; writes nothing. Errors: corrupt, unsupported, those of the data file;
    // read_only when a corrupt-marked image is to be written.
    static Result<std::unique_ptr<Qcow2>> open(std::unique_ptr<Storage> storage, const Qcow2Options& options);

    // For open(): takes a header that read_header() has checked.
    Qcow2(std::unique_ptr<Storage> storage, Header header, const Qcow2Options& options);

    std::string_view name() const override { return "qcow2"; }
    std::uint64_t size() const override { return header_.size; }
    std::optional<Codec> codec() const override { return header_.codec; }
    const Storage& storage() const override { return *storage_; }
    Storage& storage() { return *storage_; }
    Storage& data_storage() override { return data_file_ ? *data_file_ : *storage_; }
    const Storage& data_storage() const override { return data_file_ ? *data_file_ : *storage_; }
    std::optional<std::string> backing_file() const override { return header_.backing_file; }
    std::optional<std::string> backing_format() const override { return header_.backing_format(); }
    std::uint64_t cluster_bytes() const override { return header_.geometry.cluster_bytes(); }
    std::uint64_t subcluster_bytes() const override { return header_.geometry.subcluster_bytes(); }
    Result<void> describe(ImageInfo& info) const override;

    Result<Mapping> map(GuestRange range) const override;
    Result<void> read_compressed(const Mapping& mapping, std::uint64_t skip,
                                 std::span<std::byte> into) const override;

    // Makes the image ready for changes; bitmaps that record them will have `range` after the next flush. qcow2
    // "Dirty tracking bitmaps".
    Result<void> prepare_writing(GuestRange range) override;
    // A bit that nobody here keeps up says nothing any more once the image is changed.
    Result<void> clear_unknown_autoclear();
    // The changes to come leave what guests see as it is, so bitmaps miss nothing. Before prepare_writing().
    void keep_bitmaps() { keeps_bitmaps_ = true; }
    Result<Reservation> reserve(GuestRange range) override;
    Result<void> publish(const Reservation& reservation) override;
    void cancel(const Reservation& reservation) override;
    Result<void> write_compressed(GuestOffset cluster, std::span<const std::byte> data) override;
    Result<HostOffset> publish_compressed(GuestOffset cluster, std::uint64_t bytes) override;
    Result<bool> zero(GuestRange range, bool keep_space) override;
    Result<void> discard(GuestRange range) override;
    Result<void> flush() override;

    // For the parts of this folder that work on whole images: check, snapshots, resize, create.
    const Header& header() const { return header_; }
    Header& header() { return header_; }
    const Geometry& geometry() const { return header_.geometry; }
    Refcounts& refcounts() { return refcounts_; }
    // The active L1 table: entries as in the file. Read at first use.
    Result<std::span<const std::uint64_t>> l1() const;
    Result<void> set_l1_entry(std::uint64_t index, std::uint64_t entry);
    // Puts another active L1 table in place of this one, in memory; the header follows in commit_header().
    void replace_l1(HostOffset at, std::vector<std::uint64_t> entries);
    // Writes an L1 table to new clusters, to which nothing leads yet. Returns where; 0 for one without entries.
    Result<HostOffset> write_new_l1(std::span<const std::uint64_t> entries);
    const L2Cache& l2_cache() const { return l2_cache_; }
    L2Cache& l2_cache() { return l2_cache_; }

    // To be called before anything is changed: reads the refcounts, repairs them when the image is dirty,
    // clears autoclear bits that we do not keep up. Does so once. Enough by itself where guest data stays what it is.
    Result<void> prepare_changing();
    // The fixed header fields to the file, after everything that they point to is on stable storage. Until
    // then changes to header() stay in memory.
    Result<void> commit_header();
    // The same with extensions, the backing file name and fields that change the header's length.
    Result<void> rewrite_header();
    // Records where a fresh reservation's clusters are to be, with no subcluster in use. For extended L2
    // entries.
    Result<void> publish_place(const Reservation& reservation);
    // The L2 table for `at`, made when there is none and copied when a snapshot shares it.
    Result<WritableTable> writable_table(GuestOffset at);
    // New host clusters in one run. Errors: corrupt when the refcounts call a cluster free that holds
    // metadata.
    Result<ClusterRun> allocate_clusters(std::uint64_t count);
    // These clusters lose a reference once nothing on stable storage points to them any more.
    void release_later(ClusterRun run);
    // Cuts the file behind its last cluster with a refcount, once everything is flushed. Errors: corrupt when
    // metadata lies behind that.
    Result<void> cut_unused_end();
    // Releases what a L2 entry of the active tables refers to.
    void release_entry(const L2Entry& entry);
    // The same for clusters of guest data. What an entry wrongly claims, although metadata lies there, stays.
    void release_data(ClusterRun run);
    // Errors: corrupt when a L2 entry leads a write to metadata, or past the end of the file to where no
    // refcount says that there is a cluster.
    Result<void> check_in_place(HostRange range);
    // To be told when header() has another snapshot table, and its length in bytes.
    void know_snapshots(std::span<const Snapshot> snapshots, std::uint64_t table_bytes);
    // Finds out afresh which bitmaps record changes, and up to which end of the disk.
    Result<void> start_tracking();
    // Drops cached tables and counts after the file was changed behind them.
    Result<void> reload();
    // A barrier: what was written before is on stable storage, unless the file is not ordered.
    Result<void> barrier();

  private:
    Result<std::vector<std::uint64_t>> load_l1() const;
    Result<void> check_l2_offset(std::uint64_t l1_index, std::uint64_t entry) const;
    Result<Mapping> map_table(const L2Table& table, GuestRange range, HostOffset table_at) const;
    Result<Reservation> reserve_in_place(const L2Table& table, GuestRange range);
    Result<Reservation> reserve_fresh(const L2Table& table, GuestRange range);
    bool is_own(const L2Entry& entry) const;
    Result<HostOffset> place_compressed(std::uint64_t bytes);
    template <class Write>
    Result<void> store_compressed(GuestOffset cluster, std::uint64_t bytes, Write write);
    Result<bool> zero_cluster(const WritableTable& place, GuestRange part, bool keep_space);
    // Changes that bitmaps have to know of, since the last flush.
    struct BitmapTracking {
        bool is_on = false;
        GuestRange disk;
        ChangedRanges changed;
        std::vector<HostOffset> marked;  // directory entries: marked as in use by us, once something changed
    };
    ClusterRun clusters_of(HostRange range) const;
    Result<void> map_metadata();
    Result<void> check_counted();
    Result<void> check_not_metadata(ClusterRun run) const;
    Result<void> check_table_in_place(HostOffset at);
    Result<void> check_inside_file(HostRange range);
    bool may_write_in_place(HostRange range) const;
    Result<void> write_metadata();
    Result<void> write_refcounts();
    Result<void> write_l1();
    Result<void> release_pending();
    Result<void> forget_freed(const ClusterRun& run, std::vector<ClusterRun>& freed);
    Result<void> track(GuestRange range);
    Result<void> mark_bitmaps_in_use();
    Result<void> store_tracked();

    std::unique_ptr<Storage> storage_;
    std::unique_ptr<Storage> data_file_;
    Header header_;
    Header committed_;  // as it is in the file
    Qcow2Options options_;
    bool prepared_ = false;  // for any change
    bool keeps_bitmaps_ = false;

    mutable std::mutex l1_mutex_;  // guards the first reading of the L1 table
    mutable bool l1_loaded_ = false;
    mutable std::optional<Error> l1_fault_;  // why it cannot be
    mutable std::vector<std::uint64_t> l1_;
    std::uint64_t dirty_l1_first_ = 0;  // changed entries: [first, end)
    std::uint64_t dirty_l1_end_ = 0;
    L2Cache l2_cache_;
    Refcounts refcounts_;
    std::vector<ClusterRun> pending_releases_;
    MetadataMap metadata_map_;
    std::uint64_t file_end_ = 0;  // whole clusters that the file has at least
    BitmapTracking tracking_;
    std::uint64_t compressed_end_ = 0;  // where the last compressed cluster ended; 0: at a cluster's end
};

}  // namespace qimg::qcow2
