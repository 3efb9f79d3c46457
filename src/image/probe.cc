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
// formats that are known by name only
constexpr std::array other_formats = {"cloop"sv, "dmg"sv, "qcow"sv};

}  // namespace

Result<std::string> probe_format(const Storage& storage) {
    std::array<std::byte, 96> start;
    TRY(storage.read(HostOffset(0), start));
    if (qcow2::has_magic(start)) {
        const bool is_first_version = load<be32>(std::span(start).subspan(sizeof(be32))) == 1;
        return std::string(is_first_version ? "qcow" : "qcow2");
    }
    const auto found = std::find_if(signatures.begin(), signatures.end(), [&](const Signature& signature) {
        return text_of(std::span(start).subspan(signature.at, signature.bytes.size())) == signature.bytes;
    });
    return std::string(found == signatures.end() ? "raw" : found->format);
}

bool is_foreign_format(std::string_view name) {
    return std::find(other_formats.begin(), other_formats.end(), name) != other_formats.end() ||
           std::any_of(signatures.begin(), signatures.end(),
                       [&](const Signature& signature) { return signature.format == name; });
}

}  // namespace qimg
