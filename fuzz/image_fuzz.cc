// Opens arbitrary bytes as a qcow2 image; maps, reads, writes, zeroes, discards and takes a snapshot of it.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "qimg/image.hpp"

using namespace qimg;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto storage = memory_storage();
    if (!storage->write(HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
    auto format =
        qcow2::Qcow2::open(std::move(storage), {.open_data_file = {}, .writable = true, .ordered = true});
    if (!format || (*format)->size() == 0) return 0;
    qcow2::Qcow2& qcow2 = **format;
    ImageInfo info;
    (void)qcow2.describe(info);
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
    return 0;
}
