// The directory is replaced as a whole, in new clusters; so are tables and parts that changed. The header then
// points to the new directory, and what is not needed any more is released.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/bitmap_changes.hpp"

#include <algorithm>
#include <bit>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

constexpr std::uint64_t default_granularity_min = 4 * KiB;
constexpr std::uint64_t default_granularity_max = 64 * KiB;

std::unexpected<Error> inconsistent(const Bitmap& bitmap) {
    return failf(ErrorKind::corrupt,
                 "Bitmap '{}' is inconsistent and cannot be used\n"
                 "Try block-dirty-bitmap-remove to delete this bitmap from disk",
                 printable(bitmap.info.name));
}

Result<unsigned> parse_granularity(std::uint64_t bytes, const Geometry& geometry) {
    if (bytes == 0) {
        bytes = std::clamp(geometry.cluster_bytes(), default_granularity_min, default_granularity_max);
    }
    if (!std::has_single_bit(bytes) || bytes < 1ull << granularity_bits_min ||
        bytes > 1ull << granularity_bits_max) {
        return fail(ErrorKind::invalid_argument, "Granularity must be power of 2 and at least 512");
    }
    return static_cast<unsigned>(std::countr_zero(bytes));
}

Result<void> check_size(std::uint64_t disk_bytes, unsigned granularity_bits) {
    if (bitmap_bytes(disk_bytes, granularity_bits) <= bitmap_bytes_max) return {};
    return fail(ErrorKind::no_space, "Too much space will be occupied by the bitmap. Use larger granularity");
}

}  // namespace

Result<BitmapEditor> BitmapEditor::open(Qcow2& image) {
    TRY(image.flush());
    return read(image);
}

Result<BitmapEditor> BitmapEditor::read(Qcow2& image) {
    BitmapDirectory directory = TRY(read_bitmaps(image.storage(), image.header()));
    BitmapEditor editor(image);
    editor.old_directory_ = {image.geometry().cluster_at(directory.at),
                             image.geometry().clusters_for(directory.bytes)};
    for (Bitmap& bitmap : directory.bitmaps)
        editor.entries_.push_back({std::move(bitmap), std::nullopt});
    return editor;
}

std::vector<BitmapInfo> BitmapEditor::list() const {
    std::vector<BitmapInfo> infos;
    for (const Entry& entry : entries_)
        infos.push_back(entry.bitmap.info);
    return infos;
}

std::vector<BitmapEditor::Entry>::iterator BitmapEditor::find(const std::string& name) {
    return std::ranges::find(entries_, name, [](const Entry& entry) { return entry.bitmap.info.name; });
}

Result<BitmapEditor::Entry*> BitmapEditor::entry_named(const std::string& name) {
    const auto found = find(name);
    if (found != entries_.end()) return &*found;
    return failf(ErrorKind::not_found, "Dirty bitmap '{}' not found", printable(name));
}

Result<BitmapEditor::Entry*> BitmapEditor::usable_entry(const std::string& name) {
    Entry* const entry = TRY(entry_named(name));
    if (entry->bitmap.info.in_use) return inconsistent(entry->bitmap);
    return entry;
}

Result<BitmapContent*> BitmapEditor::content_of(Entry& entry) {
    if (!entry.content)
        entry.content = TRY(BitmapContent::load(image_->storage(), image_->header(), entry.bitmap));
    return &*entry.content;
}

Result<void> BitmapEditor::check_new(const std::string& name, unsigned granularity_bits) const {
    const auto refuse = [&](ErrorKind kind, std::string_view why) {
        return failf(kind, "Can't make bitmap '{}' persistent in '{}': {}", printable(name),
                     printable(image_->storage().name()), why);
    };
    if (image_->header().version < 3)
        return refuse(ErrorKind::unsupported, "Cannot store dirty bitmaps in qcow2 v2 files");
    if (name.size() > bitmap_name_bytes_max)
        return refuse(ErrorKind::invalid_argument, "Name length exceeds maximum (1023 characters)");
    if (const auto fits = check_size(image_->size(), granularity_bits); !fits)
        return refuse(ErrorKind::no_space, fits.error().message);
    // a table without entries is against the rules
    if (image_->size() == 0) return refuse(ErrorKind::invalid_argument, "The disk has no size");
    if (entries_.size() >= bitmaps_max)
        return refuse(ErrorKind::no_space, "Maximum number of persistent bitmaps is already reached");
    std::uint64_t bytes = directory_entry_bytes(name.size());
    for (const Entry& entry : entries_)
        bytes += directory_entry_bytes(entry.bitmap.info.name.size());
    if (bytes > bitmap_directory_bytes_max)
        return refuse(ErrorKind::no_space, "Not enough space in the bitmap directory");
    return {};
}

Result<void> BitmapEditor::add(const std::string& name, std::uint64_t granularity_bytes, bool recording) {
    if (name.empty()) return fail(ErrorKind::invalid_argument, "Bitmap name cannot be empty");
    const unsigned granularity_bits = TRY(parse_granularity(granularity_bytes, image_->geometry()));
    TRY(check_new(name, granularity_bits));
    if (find(name) != entries_.end())
        return failf(ErrorKind::exists, "Bitmap already exists: {}", printable(name));
    Bitmap bitmap;
    bitmap.info.name = name;
    bitmap.info.granularity_bytes = 1ull << granularity_bits;
    bitmap.set_flag(disk::bitmap_auto, recording);
    // behind those that the file has; of several new ones the latest comes first, as in QEMU
    const auto place = std::ranges::find(entries_, HostOffset(0),
                                         [](const Entry& entry) { return entry.bitmap.directory_entry; });
    entries_.insert(place, {std::move(bitmap),
                            BitmapContent::empty(image_->geometry(), granularity_bits, image_->size())});
    changed_ = true;
    return {};
}

// A table that cannot be believed is left alone: its clusters leak.
Result<void> BitmapEditor::drop(Entry& entry) {
    changed_ = true;
    const auto content = content_of(entry);
    if (!content && content.error().kind != ErrorKind::corrupt)
        return std::unexpected<Error>(content.error());
    if (!content) return {};
    (*content)->clear();
    const auto clusters = (*content)->replaced_clusters();
    replaced_.insert(replaced_.end(), clusters.begin(), clusters.end());
    return {};
}

Result<void> BitmapEditor::remove(const std::string& name) {
    Entry* const entry = TRY(entry_named(name));
    TRY(drop(*entry));
    entries_.erase(find(name));
    return {};
}

Result<void> BitmapEditor::remove_all() {
    for (Entry& entry : entries_)
        TRY(drop(entry));
    entries_.clear();
    if (image_->header().find(disk::extension_bitmaps) != nullptr) changed_ = true;
    return {};
}

Result<void> BitmapEditor::clear(const std::string& name) {
    Entry* const entry = TRY(usable_entry(name));
    BitmapContent* const content = TRY(content_of(*entry));
    content->clear();
    changed_ = true;
    return {};
}

Result<void> BitmapEditor::set_recording(const std::string& name, bool recording) {
    Entry* const entry = TRY(usable_entry(name));
    if (entry->bitmap.info.automatic == recording) return {};
    entry->bitmap.set_flag(disk::bitmap_auto, recording);
    changed_ = true;
    return {};
}

Result<void> BitmapEditor::merge(const std::string& name, BitmapEditor& source,
                                 const std::string& source_name) {
    Entry* const entry = TRY(entry_named(name));
    Entry* const from = TRY(source.usable_entry(source_name));
    if (source.image_->size() != image_->size()) {
        return failf(ErrorKind::invalid_argument,
                     "Bitmaps are of different sizes (destination size is {}, source size is {}) and can't "
                     "be merged",
                     image_->size(), source.image_->size());
    }
    if (entry->bitmap.info.in_use) return inconsistent(entry->bitmap);
    const BitmapContent* const added = TRY(source.content_of(*from));
    BitmapContent* const content = TRY(content_of(*entry));
    changed_ = true;
    return content->merge(*added);
}

Result<void> BitmapEditor::resize(std::uint64_t disk_bytes) {
    for (Entry& entry : entries_) {
        if (entry.bitmap.info.in_use) return inconsistent(entry.bitmap);
        if (const auto fits = check_size(disk_bytes, entry.bitmap.granularity_bits()); !fits) {
            return failf(ErrorKind::no_space, "Bitmap '{}' doesn't satisfy the constraints: {}",
                         printable(entry.bitmap.info.name), fits.error().message);
        }
        BitmapContent* const content = TRY(content_of(entry));
        TRY(content->resize(disk_bytes));
        changed_ = true;
    }
    return {};
}

Result<void> BitmapEditor::catch_up(HostOffset directory_entry, const std::vector<GuestRange>& changed) {
    const auto found =
        std::ranges::find(entries_, directory_entry, [](const Entry& e) { return e.bitmap.directory_entry; });
    if (found == entries_.end()) return {};
    found->bitmap.set_flag(disk::bitmap_in_use, false);
    BitmapContent* const content = TRY(content_of(*found));
    for (const GuestRange& range : changed)
        TRY(content->set(range));
    changed_ = true;
    return {};
}

Result<void> BitmapEditor::record(const std::vector<GuestRange>& changed) {
    for (Entry& entry : entries_) {
        if (!entry.bitmap.records_changes()) continue;
        BitmapContent* const content = TRY(content_of(entry));
        for (const GuestRange& range : changed)
            TRY(content->set(range));
        changed_ = true;
    }
    return {};
}

Result<void> BitmapEditor::write() {
    if (!changed_) return {};
    TRY(image_->prepare_changing());
    for (Entry& entry : entries_) {
        if (!entry.content || !entry.content->is_changed()) continue;
        TRY(entry.content->write(*image_, entry.bitmap));
        const auto clusters = entry.content->replaced_clusters();
        replaced_.insert(replaced_.end(), clusters.begin(), clusters.end());
    }
    if (old_directory_.count != 0) replaced_.push_back(old_directory_);
    Header& header = image_->header();
    if (entries_.empty()) {
        header.set_extension(disk::extension_bitmaps, {});
        header.autoclear &= ~disk::autoclear_bitmaps;
        return {};
    }
    std::vector<Bitmap> bitmaps;
    for (const Entry& entry : entries_)
        bitmaps.push_back(entry.bitmap);
    const Bytes directory = serialize_bitmaps(bitmaps);
    const ClusterRun place =
        TRY(image_->allocate_clusters(image_->geometry().clusters_for(directory.size())));
    disk::BitmapsExtension extension{};
    extension.nb_bitmaps = static_cast<std::uint32_t>(entries_.size());
    extension.directory_size = directory.size();
    extension.directory_offset = image_->geometry().offset_of(place.first).bytes;
    TRY(image_->storage().write(image_->geometry().offset_of(place.first), directory));
    header.set_extension(disk::extension_bitmaps, std::as_bytes(std::span(&extension, 1)));
    header.autoclear |= disk::autoclear_bitmaps;
    return {};
}

Result<void> BitmapEditor::publish() {
    // without bitmaps the header has the length that it had
    if (!image_->header().has_bitmaps()) return image_->commit_header();
    TRY(image_->rewrite_header());
    return release();
}

Result<void> BitmapEditor::release() {
    for (const ClusterRun& run : std::exchange(replaced_, {}))
        image_->release_later(run);
    changed_ = false;
    return image_->start_tracking();
}

Result<void> BitmapEditor::store() {
    if (!changed_) return {};
    TRY(write());
    TRY(image_->flush());
    TRY(image_->rewrite_header());
    TRY(release());
    return image_->flush();
}

Result<void> BitmapEditor::store_all() {
    if (!changed_) return {};
    for (Entry& entry : entries_) {
        if (entry.bitmap.info.in_use) continue;
        BitmapContent* const content = TRY(content_of(entry));
        TRY(content->renew());
    }
    return store();
}

Result<void> remove_all_bitmaps(Qcow2& image) {
    if (image.header().find(disk::extension_bitmaps) == nullptr) return {};
    BitmapEditor editor = TRY(BitmapEditor::open(image));
    TRY(editor.remove_all());
    return editor.store();
}

}  // namespace qimg::qcow2
