// Formats by their first bytes, those that are not ours included: a foreign image must not pass for a raw one.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string_view>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "base/try.hpp"
#include "format/qcow2/header.hpp"
#include "image/opener.hpp"

namespace qimg {

namespace {

using namespace std::literals;

struct Signature {
    std::string_view format;
    std::size_t at;
    std::string_view bytes;
};

constexpr std::array signatures = {
    Signature{"bochs", 0, "Bochs Virtual HD Image"sv},
    Signature{"luks", 0, "LUKS\xba\xbe"sv},
    Signature{"parallels", 0, "WithoutFreeSpace"sv},
    Signature{"parallels", 0, "WithouFreSpacExt"sv},
    Signature{"qed", 0, "QED\0"sv},
    Signature{"vdi", 64, "\x7f\x10\xda\xbe"sv},
    Signature{"vhdx", 0, "vhdxfile"sv},
    Signature{"vmdk", 0, "KDMV"sv},
    Signature{"vmdk", 0, "COWD"sv},
    Signature{"vmdk", 0, "# Disk DescriptorFile"sv},
    Signature{"vpc", 0, "conectix"sv},
};
// Where probing does not look: what begins otherwise may be raw, but to some program it is the other.
constexpr Signature iso9660{"iso", 32769, "CD001"sv};
constexpr std::array footers = {
    Signature{"vpc", 0, "conectix"sv},
    Signature{"dmg", 0, "koly"sv},
};
constexpr std::uint64_t footer_bytes = 512;
// formats that are known by name only
constexpr std::array other_formats = {"cloop"sv, "dmg"sv, "qcow"sv};

constexpr std::size_t start_bytes = 96;

bool has(std::span<const std::byte> bytes, const Signature& signature) {
    return text_of(bytes.subspan(signature.at, signature.bytes.size())) == signature.bytes;
}

// The first version of qcow has the same magic as the others.
std::string_view qcow_name(std::span<const std::byte> start) {
    return load<be32>(start.subspan(sizeof(be32))) == 1 ? "qcow" : "qcow2";
}

}  // namespace

Result<std::string> probe_format(const Storage& storage) {
    std::array<std::byte, start_bytes> start;
    TRY(storage.read(HostOffset(0), start));
    if (qcow2::has_magic(start)) return std::string(qcow_name(start));
    const auto found = std::find_if(signatures.begin(), signatures.end(),
                                    [&](const Signature& signature) { return has(start, signature); });
    return std::string(found == signatures.end() ? "raw" : found->format);
}

Result<std::vector<std::string>> formats_by_signature(const Storage& storage) {
    std::vector<std::string> formats;
    const auto add = [&](std::string_view format) {
        if (std::find(formats.begin(), formats.end(), format) == formats.end()) formats.emplace_back(format);
    };
    std::array<std::byte, start_bytes> start;
    TRY(storage.read(HostOffset(0), start));
    if (qcow2::has_magic(start)) add(qcow_name(start));
    for (const Signature& signature : signatures) {
        if (has(start, signature)) add(signature.format);
    }
    std::array<std::byte, iso9660.bytes.size()> volume;
    TRY(storage.read(HostOffset(iso9660.at), volume));
    if (text_of(volume) == iso9660.bytes) add(iso9660.format);
    const std::uint64_t bytes = TRY(storage.size());
    if (bytes < footer_bytes) return formats;
    std::array<std::byte, footer_bytes> footer;
    TRY(storage.read(HostOffset(bytes - footer_bytes), footer));
    for (const Signature& signature : footers) {
        if (has(footer, signature)) add(signature.format);
    }
    return formats;
}

bool is_foreign_format(std::string_view name) {
    if (name == "vmdk") return false;
    return std::find(other_formats.begin(), other_formats.end(), name) != other_formats.end() ||
           std::any_of(signatures.begin(), signatures.end(),
                       [&](const Signature& signature) { return signature.format == name; });
}

}  // namespace qimg
