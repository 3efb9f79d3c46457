// Opens arbitrary bytes as a vmdk image; checks, maps, reads, writes and zeroes it.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include "format/vmdk/check.hpp"
#include "qimg/image.hpp"

using namespace qimg;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto storage = memory_storage();
    if (!storage->write(HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
    auto format = vmdk::Vmdk::open(std::move(storage), {.writable = true});
    if (!format || (*format)->size() == 0) return 0;
    std::uint64_t grains = 0;
    (void)vmdk::check_image(**format, {}, grains);
    Image image("fuzz", std::move(*format), nullptr);
    const std::uint64_t length = std::min<std::uint64_t>(image.size(), 100000);
    Bytes buffer(length);
    (void)image.read(GuestOffset(0), buffer);
    (void)image.read(GuestOffset(image.size() - length), buffer);
    (void)image.write(GuestOffset(length / 3), std::span(buffer).first(length / 2));
    (void)image.write_zeroes(GuestRange(GuestOffset(0), length));
    (void)image.format().write_compressed(GuestOffset(0), std::span(buffer).first(length / 9));
    (void)image.flush();
    return 0;
}
