// Changing the bitmaps of an image: making, removing, clearing, merging, resizing. Everything gathers in
// memory and new clusters; one change of the header makes all of it known at once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/qcow2/bitmap_content.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/error.hpp"

namespace qimg::qcow2 {

// The names and errors are QEMU's. A bitmap that is in use in the file missed changes: it can be removed, and
// nothing else.
class BitmapEditor {
  public:
    // For an image that was opened for reading: its bitmaps are the source of merges. `image` must stay.
    static Result<BitmapEditor> read(Qcow2& image);
    // Brings the image's own changes to the file first.
    static Result<BitmapEditor> open(Qcow2& image);

    std::vector<BitmapInfo> list() const;

    // `granularity_bytes` 0: QEMU's choice for this cluster size. Errors: exists; invalid_argument for an
    // empty or long name or a granularity that is no power of two of 512 bytes to 2 GiB; unsupported in
    // version 2; no_space beyond 65535 bitmaps or 512 MiB of bits.
    Result<void> add(const std::string& name, std::uint64_t granularity_bytes, bool recording);
    Result<void> remove(const std::string& name);
    Result<void> remove_all();
    Result<void> clear(const std::string& name);
    // Whether it records changes from now on.
    Result<void> set_recording(const std::string& name, bool recording);
    // Sets what is set in `source_name` of `source`, which may be this editor. Errors: invalid_argument when
    // the disks differ in size.
    Result<void> merge(const std::string& name, BitmapEditor& source, const std::string& source_name);
    // For a disk that becomes longer or shorter.
    Result<void> resize(std::uint64_t disk_bytes);
    // What the bitmap at this place of the directory missed while it was marked as in use.
    Result<void> catch_up(HostOffset directory_entry, const std::vector<GuestRange>& changed);

    // Guest data in these ranges changes, by a way that track() does not see.
    Result<void> record(const std::vector<GuestRange>& changed);

    // Brings everything to the file, with which the editor is done. Until then nothing there has changed.
    Result<void> store();
    // The same with every bitmap that is usable written anew, as QEMU does when it closes an image whose bitmaps
    // changed: afterwards the file has the layout and the length that are known from there.
    Result<void> store_all();
    // The same in two steps, for a change of more than bitmaps: write() prepares the directory and the header's
    // fields in memory, and publish(), after a flush by the caller, makes them valid with everything else that the
    // header says. From then on the new bitmaps record.
    Result<void> write();
    Result<void> publish();
    // For whoever has rewritten the header instead.
    Result<void> release();

  private:
    struct Entry {
        Bitmap bitmap;
        std::optional<BitmapContent> content;  // absent: as in the file
    };

    explicit BitmapEditor(Qcow2& image) : image_(&image) {}
    std::vector<Entry>::iterator find(const std::string& name);
    Result<Entry*> entry_named(const std::string& name);
    Result<Entry*> usable_entry(const std::string& name);
    Result<BitmapContent*> content_of(Entry& entry);
    Result<void> check_new(const std::string& name, unsigned granularity_bits) const;
    Result<void> drop(Entry& entry);

    Qcow2* image_;
    std::vector<Entry> entries_;
    ClusterRun old_directory_;
    std::vector<ClusterRun> replaced_;
    bool changed_ = false;
};

// Everything about bitmaps, stale ones included, leaves the image. Nothing happens when there is none.
Result<void> remove_all_bitmaps(Qcow2& image);

}  // namespace qimg::qcow2
