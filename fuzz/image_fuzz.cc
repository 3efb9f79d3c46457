// Opens arbitrary bytes as a qcow2 image; digests its tables, maps, reads, writes, zeroes, discards and takes a
// snapshot of it, and changes its bitmaps.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/bytes.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/pin.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "format/qcow2/table_digest.hpp"
#include "qimg/image.hpp"

using namespace qimg;

namespace {

// Merges every bitmap into a new one, makes all of them shorter, and removes them.
void change_bitmaps(qcow2::Qcow2& image) {
    auto editor = qcow2::BitmapEditor::open(image);
    if (!editor) return;
    const auto bitmaps = editor->list();
    if (editor->add("new", 0, true)) {
        for (const BitmapInfo& bitmap : bitmaps)
            (void)editor->merge("new", *editor, bitmap.name);
    }
    (void)editor->store();
    auto again = qcow2::BitmapEditor::open(image);
    if (again) (void)again->resize(image.size() / 2);
    (void)qcow2::remove_all_bitmaps(image);
}

// What is understood means the same when it is written again.
void read_pin(const qcow2::Header& header) {
    const auto* const extension = header.find(qcow2::disk::extension_pin);
    if (extension == nullptr) return;
    const auto pin = qcow2::parse_pin(extension->data);
    if (pin && qcow2::parse_pin(qcow2::serialize_pin(*pin)) != pin) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto storage = memory_storage();
    if (!storage->write(HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
    auto format =
        qcow2::Qcow2::open(std::move(storage), {.open_data_file = {}, .writable = true, .ordered = true});
    if (!format || (*format)->size() == 0) return 0;
    qcow2::Qcow2& qcow2 = **format;
    ImageInfo info;
    (void)qcow2.describe(info);
    (void)qcow2::table_digest(qcow2);
    read_pin(qcow2.header());
    Image image("fuzz", std::move(*format), nullptr);
    const std::uint64_t length = std::min<std::uint64_t>(image.size(), 100000);
    Bytes buffer(length);
    (void)image.read(GuestOffset(0), buffer);
    (void)image.read(GuestOffset(image.size() - length), buffer);
    (void)image.write(GuestOffset(length / 3), std::span(buffer).first(length / 2));
    (void)image.write_zeroes(GuestRange(GuestOffset(length / 4), length / 5));
    (void)image.discard(GuestRange(GuestOffset(0), length));
    if (qcow2.header().l1_entries < 1000) (void)qcow2::create_snapshot(qcow2, "s", {});
    (void)image.flush();
    change_bitmaps(qcow2);
    return 0;
}
