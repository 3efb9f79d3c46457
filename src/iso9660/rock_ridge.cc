// Builds the system use areas of Rock Ridge 1.09, which calls itself RRIP_1991A.
// SPDX-License-Identifier: Apache-2.0
#include "iso9660/rock_ridge.hpp"

#include <ctime>

#include "base/bytes.hpp"
#include "iso9660/disk_layout.hpp"

namespace qimg::iso9660 {

namespace {

constexpr std::uint32_t folder_mode = ISO_ROCK_ISDIR | 0555;
constexpr std::uint32_t file_mode = ISO_ROCK_ISREG | 0444;

// The three texts that RRIP 1.09 4.3 prescribes.
constexpr std::string_view extension_identifier = "RRIP_1991A";
constexpr std::string_view extension_descriptor =
    "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
constexpr std::string_view extension_source =
    "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME "
    "DESCRIPTOR FOR CONTACT INFORMATION.";

template <class Entry>
void append(std::string& area, const Entry& entry) {
    area += text_of(std::as_bytes(std::span(&entry, 1)));
}

void append_attributes(std::string& area, std::uint32_t mode, std::uint32_t links, std::int64_t time,
                       std::uint8_t flags) {
    RockRidgeEntry present;
    present.flags = static_cast<std::uint8_t>(flags | has_attributes | has_times);
    append(area, present);

    AttributesEntry attributes;
    attributes.mode = Both32(mode);
    attributes.links = Both32(links);
    append(area, attributes);

    const std::time_t seconds = time;
    std::tm utc;
    ::gmtime_r(&seconds, &utc);
    TimesEntry times;
    iso9660_set_dtime(&utc, &times.modified);
    times.accessed = times.modified;
    times.attributes_changed = times.modified;
    append(area, times);
}

}  // namespace

std::string root_system_use(std::int64_t time, std::size_t continuation_bytes) {
    std::string area;
    append(area, SharingProtocolEntry());
    append_attributes(area, folder_mode, 2, time, 0);
    ContinuationEntry continuation;
    continuation.block = Both32(continuation_block);
    continuation.length = Both32(static_cast<std::uint32_t>(continuation_bytes));
    append(area, continuation);
    return area;
}

std::string parent_system_use(std::int64_t time) {
    std::string area;
    append_attributes(area, folder_mode, 2, time, 0);
    return area;
}

std::string file_system_use(std::string_view name, std::int64_t time) {
    std::string area;
    append_attributes(area, file_mode, 1, time, has_name);
    NameEntry entry;
    entry.header.length = static_cast<std::uint8_t>(sizeof(NameEntry) + name.size());
    append(area, entry);
    area += name;
    return area;
}

std::string continuation_area() {
    ExtensionsEntry entry;
    entry.identifier_length = extension_identifier.size();
    entry.descriptor_length = extension_descriptor.size();
    entry.source_length = extension_source.size();
    entry.header.length = sizeof(ExtensionsEntry) + extension_identifier.size() +
                          extension_descriptor.size() + extension_source.size();
    std::string area;
    append(area, entry);
    area += extension_identifier;
    area += extension_descriptor;
    area += extension_source;
    return area;
}

}  // namespace qimg::iso9660
