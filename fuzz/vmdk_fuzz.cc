// Opens arbitrary bytes as a vmdk image; checks, describes, maps, reads, writes and zeroes it, and makes it longer:
// what is added reads as zeroes. A descriptor that is made of arbitrary words is read as it was meant.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "format/vmdk/check.hpp"
#include "format/vmdk/descriptor.hpp"
#include "qimg/image.hpp"

using namespace qimg;

namespace {

void describe(std::string_view words) {
    const std::size_t third = words.size() / 3;
    VmdkLayout layout;
    layout.hardware_version = words.substr(0, third);
    layout.tools_version = words.substr(third, third);
    const auto text = vmdk::write_descriptor(layout, words.size() * sector_bytes, words.substr(2 * third), 7);
    if (!text) return;
    const auto read = vmdk::parse_descriptor(*text);
    if (!read || read->cid != 7 || read->create_type != layout.subformat) std::abort();
}

void grow(vmdk::Vmdk& format, Image& image) {
    const std::uint64_t end = round_up(image.size(), sector_bytes);
    const std::uint64_t longer =
        end + 3 * format.header().table_reach_bytes() / 2 / sector_bytes * sector_bytes;
    if (longer < end || !format.grow(longer)) return;
    if (image.size() != longer) std::abort();
    for (const std::uint64_t at : {end, longer - sector_bytes}) {
        Bytes added(sector_bytes, std::byte{1});
        if (!image.read(GuestOffset(at), added) || !is_zero(added)) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    describe({reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 180)});
    auto storage = memory_storage();
    if (!storage->write(HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
    auto format = vmdk::Vmdk::open(std::move(storage), {.writable = true});
    if (!format || (*format)->size() == 0) return 0;
    std::uint64_t grains = 0;
    ImageInfo info;
    (void)(*format)->describe(info);
    (void)vmdk::check_image(**format, {}, grains);
    vmdk::Vmdk& vmdk = **format;
    Image image("fuzz", std::move(*format), nullptr);
    const std::uint64_t length = std::min<std::uint64_t>(image.size(), 100000);
    Bytes buffer(length);
    (void)image.read(GuestOffset(0), buffer);
    (void)image.read(GuestOffset(image.size() - length), buffer);
    (void)image.write(GuestOffset(length / 3), std::span(buffer).first(length / 2));
    (void)image.write_zeroes(GuestRange(GuestOffset(0), length));
    (void)image.format().write_compressed(GuestOffset(0), std::span(buffer).first(length / 9));
    if (image.flush()) grow(vmdk, image);
    return 0;
}
