// Pins to bytes and back.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/pin.hpp"

#include "format/qcow2/disk_layout.hpp"

namespace qimg::qcow2 {

Bytes serialize_pin(const Pin& pin) {
    disk::PinExtension raw{};
    raw.layout = disk::pin_layout;
    raw.format = pin.format == "raw" ? disk::pin_format_raw : disk::pin_format_qcow2;
    if (pin.modified) {
        raw.flags |= disk::pin_has_time;
        raw.modified_seconds = static_cast<std::uint64_t>(pin.modified->seconds);
        raw.modified_nanoseconds = pin.modified->nanoseconds;
    }
    raw.file_bytes = pin.file_bytes;
    raw.disk_bytes = pin.disk_bytes;
    raw.digest = pin.digest;
    if (pin.content) raw.flags |= disk::pin_has_content;
    Bytes bytes(sizeof(raw) + (pin.content ? sizeof(Digest) : 0));
    store(std::span(bytes), raw);
    if (pin.content) store(std::span(bytes).subspan(sizeof(raw)), *pin.content);
    return bytes;
}

std::optional<Pin> parse_pin(std::span<const std::byte> data) {
    if (data.size() < sizeof(disk::PinExtension)) return std::nullopt;
    const auto raw = load<disk::PinExtension>(data);
    const bool has_content = (raw.flags & disk::pin_has_content) != 0;
    const bool is_known = raw.format == disk::pin_format_raw || raw.format == disk::pin_format_qcow2;
    if (raw.layout != disk::pin_layout || !is_known) return std::nullopt;
    if (has_content && data.size() < sizeof(raw) + sizeof(Digest)) return std::nullopt;
    Pin pin;
    pin.format = raw.format == disk::pin_format_raw ? "raw" : "qcow2";
    pin.disk_bytes = raw.disk_bytes;
    pin.file_bytes = raw.file_bytes;
    if ((raw.flags & disk::pin_has_time) != 0) {
        pin.modified = FileTime{static_cast<std::int64_t>(+raw.modified_seconds), raw.modified_nanoseconds};
    }
    pin.digest = raw.digest;
    if (has_content) pin.content = load<Digest>(data.subspan(sizeof(raw)));
    return pin;
}

}  // namespace qimg::qcow2
