// What a pin is made of: sizes and times, a digest of tables or samples, a digest of content.
// SPDX-License-Identifier: Apache-2.0
#include "operations/pin.hpp"

#include <algorithm>

#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/header_rewrite.hpp"
#include "format/qcow2/table_digest.hpp"
#include "operations/extent_walk.hpp"
#include "qimg/size_text.hpp"

namespace qimg {

namespace {

constexpr std::uint64_t sample_bytes = MiB;  // at the start of a raw file, and at its end
constexpr std::uint64_t block_bytes = 64 * KiB;
constexpr std::uint64_t chunk_bytes = MiB;  // of content

template <class Integer>
std::span<const std::byte> bytes_in(const Integer& value) {
    return std::as_bytes(std::span(&value, 1));
}

// Blocks of zeroes count no more than holes do.
Result<void> add_sample(Sha256& digest, const Storage& file, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t at = from; at < to; at += block_bytes) {
        Bytes block(std::min(block_bytes, to - at));
        TRY(file.read(HostOffset(at), block));
        if (is_zero(block)) continue;
        digest.update(bytes_in(be64(at)));
        digest.update(bytes_in(be64(crc64(block))));
    }
    return {};
}

// The first and the last part of the first `bytes` of a raw file, which may be longer by now.
Result<Digest> sample_digest(const Storage& file, std::uint64_t bytes) {
    Sha256 digest;
    const std::uint64_t tail = round_down(bytes - std::min(bytes, sample_bytes), block_bytes);
    TRY(add_sample(digest, file, 0, std::min(bytes, sample_bytes)));
    TRY(add_sample(digest, file, std::max(tail, std::min(bytes, sample_bytes)), bytes));
    return digest.finish();
}

// Of the first `bytes` of the disk; chunks that read as zeroes count as little as a shorter disk.
Result<Digest> content_digest(const Image& image, std::uint64_t bytes, Progress& progress) {
    Sha256 digest;
    ExtentWalk walk(image, Holes::all);
    Bytes buffer(chunk_bytes);
    for (std::uint64_t at = 0; at < bytes;) {
        progress.update(at, bytes);
        if (progress.cancelled()) return fail(ErrorKind::cancelled, "interrupted");
        const FileExtent run = TRY(walk.at(GuestRange(GuestOffset(at), bytes - at)));
        if (run.reads_as_zeroes()) {
            at = run.extent.range.end().bytes;
            continue;
        }
        const std::uint64_t start = round_down(at, chunk_bytes);
        const auto chunk = std::span(buffer).first(std::min(chunk_bytes, bytes - start));
        TRY(image.read(GuestOffset(start), chunk));
        at = start + chunk.size();
        if (is_zero(chunk)) continue;
        Sha256 part;
        part.update(chunk);
        digest.update(bytes_in(be64(start)));
        digest.update(bytes_in(part.finish()));
    }
    progress.update(bytes, bytes);
    return digest.finish();
}

// `file_bytes` is the length of the file that the pin is for.
Result<Digest> own_digest(const Image& image, std::uint64_t file_bytes) {
    const auto* qcow2 = dynamic_cast<const qcow2::Qcow2*>(&image.format());
    return qcow2 != nullptr ? qcow2::table_digest(*qcow2)
                            : sample_digest(image.format().data_storage(), file_bytes);
}

std::string longer_or_shorter(std::string_view what, std::uint64_t was, std::uint64_t is) {
    const std::string before = format_size(was);
    const std::string now = format_size(is);
    if (before == now) return fmt::format("{} had {} bytes, and has {}", what, was, is);
    return fmt::format("{} had {}, and has {}", what, before, now);
}

}  // namespace

Result<qcow2::Pin> take_pin(const Image& base, PinMode mode, Progress& progress) {
    const Storage& file = base.format().data_storage();
    qcow2::Pin pin;
    pin.format = base.format_name();
    pin.disk_bytes = base.size();
    pin.file_bytes = TRY(file.size());
    pin.modified = file.modified();
    pin.digest = TRY(own_digest(base, pin.file_bytes));
    if (mode == PinMode::full) pin.content = TRY(content_digest(base, pin.disk_bytes, progress));
    return pin;
}

void set_pin(qcow2::Header& overlay, const std::optional<qcow2::Pin>& pin) {
    overlay.set_extension(qcow2::disk::extension_pin, pin ? serialize_pin(*pin) : Bytes());
}

std::optional<qcow2::Pin> pin_in(const qcow2::Header& overlay) {
    const qcow2::Extension* const extension = overlay.find(qcow2::disk::extension_pin);
    return extension != nullptr ? qcow2::parse_pin(extension->data) : std::nullopt;
}

Result<void> rewrite_pinned_header(qcow2::Qcow2& overlay) {
    auto written = overlay.rewrite_header();
    const bool has_pin = overlay.header().find(qcow2::disk::extension_pin) != nullptr;
    if (!qcow2::is_header_full(written) || !has_pin) return written;
    set_pin(overlay.header(), std::nullopt);
    return overlay.rewrite_header();
}

Result<std::optional<qcow2::Pin>> pin_if_whole(const Image& base, PinMode mode, Progress& progress) {
    auto pin = take_pin(base, mode, progress);
    if (pin) return std::move(*pin);
    if (pin.error().kind == ErrorKind::corrupt) return std::nullopt;
    return std::unexpected<Error>(std::move(pin).error());
}

std::unique_ptr<Image> open_to_pin(const ImageLocation& base, PinMode mode, Opener& opener) {
    OpenOptions open = base.open;
    open.with_backing = mode == PinMode::full;
    open.locking = Locking::qemu;
    auto image = Image::open(base.path, open, opener);
    const bool is_known = image && ((*image)->format_name() == "qcow2" || (*image)->format_name() == "raw");
    return is_known ? std::move(*image) : nullptr;
}

Result<void> pin_base(qcow2::Qcow2& overlay, const ImageLocation& base, PinMode mode, Opener& opener,
                      Progress& progress) {
    if (mode == PinMode::none) return {};
    const auto image = open_to_pin(base, mode, opener);
    if (!image) return {};
    const auto pin = TRY(pin_if_whole(*image, mode, progress));
    if (!pin) return {};
    set_pin(overlay.header(), pin);
    return rewrite_pinned_header(overlay);
}

Result<Digest> BaseNow::digest(std::uint64_t file_bytes) {
    if (digest_ && digest_bytes_ == file_bytes) return *digest_;
    digest_ = TRY(own_digest(base_, file_bytes));
    digest_bytes_ = file_bytes;
    return *digest_;
}

// What can be told without reading the base's content.
Result<void> BaseNow::compare_quickly(const qcow2::Pin& pin, PinReport& report) {
    const std::uint64_t file_bytes = TRY(base_.format().data_storage().size());
    if (base_.size() < pin.disk_bytes)
        report.changes.push_back(longer_or_shorter("its disk", pin.disk_bytes, base_.size()));
    const Digest now = TRY(digest(std::min(pin.file_bytes, file_bytes)));
    if (now != pin.digest) {
        report.changes.push_back(pin.format == "raw" ? "its first or last MiB is another"
                                                     : "its header or tables are others");
    }
    if (base_.size() > pin.disk_bytes)
        report.hints.push_back(longer_or_shorter("its disk", pin.disk_bytes, base_.size()));
    if (file_bytes != pin.file_bytes)
        report.hints.push_back(longer_or_shorter("its file", pin.file_bytes, file_bytes));
    if (pin.modified && report.modified && *pin.modified != *report.modified)
        report.hints.push_back("its time of modification is another");
    return {};
}

// Content that is the same excuses everything else.
Result<void> BaseNow::compare_content(const qcow2::Pin& pin, PinReport& report, Progress& progress) const {
    if (base_.size() < pin.disk_bytes) return {};
    const Digest content = TRY(content_digest(base_, pin.disk_bytes, progress));
    if (content != *pin.content) {
        report.changes.push_back("what guests see on it is not the same");
        return {};
    }
    report.hints.insert(report.hints.begin(), report.changes.begin(), report.changes.end());
    report.changes.clear();
    return {};
}

Result<PinReport> BaseNow::compare(const qcow2::Header& overlay, bool content, Progress& progress) {
    PinReport report;
    report.base_format = base_.format_name();
    report.modified = base_.format().data_storage().modified();
    if (overlay.find(qcow2::disk::extension_pin) == nullptr) return report;
    const std::optional<qcow2::Pin> pin = pin_in(overlay);
    report.state = PinState::unknown;
    if (!pin) return report;
    if (pin->format != report.base_format) {
        report.changes.push_back(fmt::format("it was {}, and is {}", pin->format, report.base_format));
    } else {
        TRY(compare_quickly(*pin, report));
    }
    if (pin->content && content) TRY(compare_content(*pin, report, progress));
    report.state = report.changes.empty() ? PinState::same : PinState::changed;
    return report;
}

}  // namespace qimg
