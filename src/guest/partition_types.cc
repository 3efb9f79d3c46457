// Names for the types of partitions. GUIDs from the UEFI specification, the Discoverable Partitions Specification
// and what installers write; MBR types as Linux's programs list them.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "guest/partition_table.hpp"

namespace qimg::guest {

namespace {

constexpr std::pair<std::string_view, std::string_view> gpt_types[] = {
    {"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"},
    {"21686148-6449-6e6f-744e-656564454649", "BIOS boot"},
    {"0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux file system"},
    {"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86-64)"},
    {"44479540-f297-41b2-9af7-d131d5f0458a", "Linux root (x86)"},
    {"b921b045-1df0-41c3-af44-4c6f280d3fae", "Linux root (arm64)"},
    {"69dad710-2ce4-4e3c-b16c-21a1d49abed3", "Linux root (arm)"},
    {"72ec70a6-cf74-40e6-bd49-4bda08e8f224", "Linux root (riscv64)"},
    {"c31c45e6-3f39-412e-80fb-4809c4980599", "Linux root (ppc64le)"},
    {"5eead9a9-fe09-4a1e-a1d7-520d00531306", "Linux root (s390x)"},
    {"8484680c-9521-48c6-9c11-b0720656f69e", "Linux /usr (x86-64)"},
    {"933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux /home"},
    {"3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "Linux /srv"},
    {"4d21b016-b534-45c2-a9fb-5c16e091fd2d", "Linux /var"},
    {"bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux /boot"},
    {"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"},
    {"e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"},
    {"a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"},
    {"ca7d7ccb-63ed-4c53-861c-1742536059cc", "Linux LUKS"},
    {"9e1a2d38-c612-4316-aa26-8b49521e5a8b", "PowerPC PReP boot"},
    {"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft basic data"},
    {"e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"},
    {"de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"},
    {"83bd6b9d-7f41-11dc-be0b-001560b84f0f", "FreeBSD boot"},
    {"516e7cb5-6ecf-11d6-8ff8-00022d09712b", "FreeBSD swap"},
    {"516e7cb6-6ecf-11d6-8ff8-00022d09712b", "FreeBSD UFS"},
    {"516e7cba-6ecf-11d6-8ff8-00022d09712b", "FreeBSD ZFS"},
};

constexpr std::pair<std::uint8_t, std::string_view> mbr_types[] = {
    {0x01, "FAT12"},          {0x04, "FAT16"},
    {0x05, "Extended"},       {0x06, "FAT16"},
    {0x07, "NTFS or exFAT"},  {0x0b, "FAT32"},
    {0x0c, "FAT32"},          {0x0e, "FAT16"},
    {0x0f, "Extended"},       {0x27, "Windows recovery"},
    {0x82, "Linux swap"},     {0x83, "Linux"},
    {0x85, "Linux extended"}, {0x8e, "Linux LVM"},
    {0xa5, "FreeBSD"},        {0xa6, "OpenBSD"},
    {0xa9, "NetBSD"},         {0xee, "GPT"},
    {0xef, "EFI system"},     {0xfd, "Linux RAID"},
};

template <class Key, class List>
std::string_view name_in(const List& list, const Key& key) {
    const auto found = std::ranges::find_if(list, [&](const auto& entry) { return entry.first == key; });
    return found != std::end(list) ? found->second : std::string_view();
}

}  // namespace

std::string_view gpt_type_name(std::string_view guid) {
    return name_in(gpt_types, guid);
}

std::string_view mbr_type_name(std::uint8_t type) {
    return name_in(mbr_types, type);
}

bool is_root_type(std::string_view guid) {
    return gpt_type_name(guid).starts_with("Linux root");
}

bool is_extended_type(std::uint8_t type) {
    return type == 0x05 || type == 0x0f || type == 0x85;
}

// The first three parts are little-endian numbers, the others bytes in order.
std::string guid_text(const std::array<std::uint8_t, 16>& guid) {
    constexpr std::array<unsigned, 16> order = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    std::string text;
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += fmt::format("{:02x}", guid[order[i]]);
    }
    return text;
}

}  // namespace qimg::guest
