// Everything new is prepared aside, the header switches to it, and what it replaced is freed.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/amend.hpp"

#include <algorithm>
#include <bit>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/refcount_structures.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "format/qcow2/snapshots.hpp"
#include "format/qcow2/zero_expansion.hpp"

namespace qimg::qcow2 {

namespace {

constexpr unsigned refcount_bits_v2 = 16;

std::unexpected<Error> refuse(std::string message) {
    return fail(ErrorKind::invalid_argument, std::move(message));
}

// The share [from, to] of a longer way.
class PartOfProgress final : public Progress {
  public:
    PartOfProgress(Progress& whole, double from, double to) : whole_(whole), from_(from), to_(to) {}
    void update(std::uint64_t done, std::uint64_t total) override {
        const double part = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
        whole_.update(static_cast<std::uint64_t>((from_ + (to_ - from_) * part) * steps), steps);
    }

  private:
    static constexpr std::uint64_t steps = 1'000'000;
    Progress& whole_;
    double from_;
    double to_;
};

Result<void> check_backing_file(const Header& header, const Qcow2Amendment& wanted) {
    if (!wanted.backing_file && !wanted.backing_format) return {};
    const bool same =
        wanted.backing_file == header.backing_file && wanted.backing_format == header.backing_format();
    return same ? Result<void>() : refuse("Cannot amend the backing file");
}

Result<void> check_data_file(const Header& header, const Qcow2Amendment& wanted) {
    if (wanted.data_file && !header.has_data_file()) {
        return refuse("data-file can only be set for images that use an external data file");
    }
    if (wanted.data_file_raw.value_or(false) && !header.data_file_raw()) {
        return refuse("data-file-raw cannot be set on existing images");
    }
    return {};
}

Result<void> check_refcount_bits(const Header& header, const Qcow2Amendment& wanted) {
    const unsigned now = header.geometry.refcount_bits();
    const unsigned bits = wanted.refcount_bits.value_or(now);
    if (!std::has_single_bit(bits) || bits > 1u << refcount_order_max) {
        return refuse("Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (wanted.version.value_or(header.version) >= 3 || bits == refcount_bits_v2) return {};
    if (bits == now) return refuse("compat=0.10 requires refcount_bits=16");
    return refuse(
        "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or "
        "greater)");
}

Result<void> check_snapshots(const Qcow2& image) {
    const std::vector<Snapshot> snapshots = TRY(read_snapshots(image.storage(), image.header()));
    for (const Snapshot& snapshot : snapshots) {
        if (snapshot.info.disk_bytes != image.size() || snapshot.info.vm_state_bytes > 0xffffffff) {
            return refuse("Internal snapshots prevent downgrade of image");
        }
    }
    return {};
}

Result<void> check_downgrade(Qcow2& image) {
    const Header& header = image.header();
    if (header.has_data_file()) return refuse("Cannot downgrade an image with a data file");
    if (header.codec != Codec::zlib) {
        const bool compressed = TRY(has_compressed_clusters(image));
        if (compressed) {
            return refuse(
                "Cannot downgrade an image with zstd compression type and existing compressed clusters");
        }
    }
    constexpr std::uint64_t dealt_with = disk::incompatible_dirty | disk::incompatible_compression;
    const std::uint64_t left = header.incompatible & ~dealt_with;
    if (left == 0) return {};
    return refuse(fmt::format("Cannot downgrade an image with incompatible features {:#x} set", left));
}

// Version 3 wants the disk's size in each entry.
Result<void> complete_snapshots(Qcow2& image, std::vector<ClusterRun>& replaced) {
    const std::vector<Snapshot> snapshots = TRY(read_snapshots(image.storage(), image.header()));
    const bool complete = std::ranges::all_of(
        snapshots, [](const Snapshot& one) { return one.extra_bytes >= sizeof(disk::SnapshotExtra); });
    if (complete) return {};
    replaced.push_back({image.geometry().cluster_at(image.header().snapshot_table),
                        image.geometry().clusters_for(snapshot_table_bytes(snapshots))});
    return replace_snapshot_table(image, snapshots);
}

std::vector<ClusterRun> refcount_clusters(Qcow2& image) {
    const Geometry& geometry = image.geometry();
    const Header& header = image.header();
    std::vector<ClusterRun> runs{
        {geometry.cluster_at(header.refcount_table), header.refcount_table_clusters}};
    for (const std::uint64_t block : image.refcounts().table()) {
        if (block != 0) runs.push_back({geometry.cluster_at(HostOffset(block)), 1});
    }
    return runs;
}

// Returns the clusters that are free once the header is written.
Result<std::vector<ClusterRun>> change_refcount_width(Qcow2& image, unsigned bits, Progress& progress) {
    const Geometry& old = image.geometry();
    const Geometry geometry(old.cluster_bits(), static_cast<unsigned>(std::countr_zero(bits)),
                            old.extended_l2(), old.external_data());
    auto counts = read_refcounts(image, geometry.refcount_max());
    if (!counts) {
        Error error = std::move(counts).error();
        if (error.kind == ErrorKind::invalid_argument) {
            error.message =
                fmt::format("Cannot decrease refcount entry width to {} bits: {}", bits, error.message);
        }
        return std::unexpected<Error>(std::move(error));
    }
    std::vector<ClusterRun> replaced = refcount_clusters(image);
    TRY(write_refcount_structures(image, geometry, *counts, replaced, progress));
    std::erase_if(replaced, [&](ClusterRun run) {
        return counts->first_used(run.first, run.first + run.count) != run.first + run.count;
    });
    return replaced;
}

// What the file pointed to before, now that nothing does any more; `free` has no refcount already.
Result<void> free_replaced(Qcow2& image, const std::vector<ClusterRun>& replaced,
                           std::span<const ClusterRun> free, std::optional<BitmapEditor>& bitmaps) {
    TRY(image.reload());
    const Geometry& geometry = image.geometry();
    for (const ClusterRun& run : free) {
        const HostRange range(geometry.offset_of(run.first), run.count * geometry.cluster_bytes());
        TRY(image.storage().discard(range));
    }
    if (replaced.empty() && !bitmaps) return image.storage().flush();
    TRY(image.prepare_changing());
    if (bitmaps) TRY(bitmaps->release());
    for (const ClusterRun& run : replaced)
        image.release_later(run);
    return image.flush();
}

void set_flags(Header& header, const Qcow2Amendment& wanted) {
    const auto set = [](std::uint64_t& flags, std::uint64_t flag, std::optional<bool> value) {
        if (value) flags = *value ? flags | flag : flags & ~flag;
    };
    set(header.compatible, disk::compatible_lazy_refcounts, wanted.lazy_refcounts);
    set(header.autoclear, disk::autoclear_data_file_raw, wanted.data_file_raw);
    if (wanted.data_file) header.set_text_extension(disk::extension_data_file, *wanted.data_file);
    header.version = wanted.version.value_or(header.version);
    if (header.version >= 3) return;
    header.incompatible = header.compatible = header.autoclear = 0;
    header.codec = Codec::zlib;
    header.unknown_fields.clear();
}

bool differs(const Header& one, const Header& other) {
    return one.version != other.version || one.incompatible != other.incompatible ||
           one.compatible != other.compatible || one.autoclear != other.autoclear ||
           one.text_extension(disk::extension_data_file) != other.text_extension(disk::extension_data_file);
}

}  // namespace

Result<void> check_amendment(Qcow2& image, const Qcow2Amendment& wanted) {
    const Header& header = image.header();
    const unsigned version = wanted.version.value_or(header.version);
    if (version != 2 && version != 3) return refuse("Unknown compatibility level");
    TRY(check_backing_file(header, wanted));
    TRY(check_data_file(header, wanted));
    TRY(check_refcount_bits(header, wanted));
    const bool is_lazy = (header.compatible & disk::compatible_lazy_refcounts) != 0;
    if (version < 3 && wanted.lazy_refcounts.value_or(false) && !is_lazy) {
        return refuse(
            "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or "
            "greater)");
    }
    return version < header.version ? check_downgrade(image) : Result<void>();
}

Result<void> amend(Qcow2& image, const Qcow2Amendment& wanted, Progress& progress) {
    const unsigned old_version = image.header().version;
    const unsigned version = wanted.version.value_or(old_version);
    if (version < old_version) TRY(check_snapshots(image));
    TRY(image.prepare_changing());
    TRY(image.flush());
    const unsigned bits = wanted.refcount_bits.value_or(image.geometry().refcount_bits());
    const bool changes_width = bits != image.geometry().refcount_bits();
    Header header = image.header();
    set_flags(header, wanted);
    if (!changes_width && !differs(header, image.header())) return {};
    std::vector<ClusterRun> replaced;
    std::optional<BitmapEditor> bitmaps;
    if (version < old_version) {
        PartOfProgress part(progress, 0, changes_width ? 0.5 : 1);
        if (auto done = expand_zero_clusters(image, part); !done) {
            done.error().message = "Failed to turn zero into data clusters: " + done.error().message;
            return done;
        }
        // a version 2 header cannot say whether bitmaps are up to date, so nobody could use them
        bitmaps = TRY(BitmapEditor::open(image));
        TRY(bitmaps->remove_all());
        TRY(bitmaps->write());
    }
    if (version > old_version) TRY(complete_snapshots(image, replaced));
    TRY(image.flush());
    std::vector<ClusterRun> free;
    if (changes_width) {
        PartOfProgress part(progress, version < old_version ? 0.5 : 0, 1);
        free = TRY(change_refcount_width(image, bits, part));
    }
    set_flags(image.header(), wanted);
    TRY(image.rewrite_header());
    return free_replaced(image, replaced, free, bitmaps);
}

}  // namespace qimg::qcow2
