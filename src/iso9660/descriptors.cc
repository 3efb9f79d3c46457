// Fills volume descriptors with libiso9660 and replaces what it writes for CD-ROM XA.
// SPDX-License-Identifier: Apache-2.0
#include "iso9660/descriptors.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "base/endian.hpp"
#include "iso9660/disk_layout.hpp"
#include "iso9660/identifiers.hpp"

namespace qimg::iso9660 {

namespace {

// UCS-2 level 3 (Joliet "Escape sequences").
constexpr std::string_view joliet_escape = "%/E";

template <std::size_t size>
void fill(char (&field)[size], std::string_view text, char padding = ' ') {
    std::fill(std::begin(field), std::end(field), padding);
    std::memcpy(field, text.data(), std::min(size, text.size()));
}

// A field of UCS-2 text is padded with UCS-2 spaces; the odd byte of the 37-byte fields stays zero.
template <std::size_t size>
void fill_ucs2(char (&field)[size], std::string_view text) {
    fill(field, ucs2(std::string(text) + std::string(size / 2 - text.size(), ' ')), '\0');
}

}  // namespace

Bytes primary_descriptor(const Volume& volume, const Tree& tree) {
    Bytes block(block_bytes);
    const std::time_t time = volume.time;
    iso9660_set_pvd(block.data(), "", "", "", "", volume.blocks, tree.root.data(), tree.path_table_l_block,
                    tree.path_table_m_block, tree.path_table_bytes, &time);
    auto descriptor = load<iso9660_pvd_t>(block);
    fill(descriptor.system_id, "LINUX");
    // cloud-init and udev compare the label byte by byte: no capitals here, whatever ECMA-119 8.4.7 says
    fill(descriptor.volume_id, volume.id);
    fill(descriptor.application_data, "", '\0');
    store(block, descriptor);
    return block;
}

Bytes joliet_descriptor(const Volume& volume, const Tree& tree) {
    Bytes block = primary_descriptor(volume, tree);
    auto descriptor = load<iso9660_svd_t>(block);
    descriptor.type = ISO_VD_SUPPLEMENTARY;
    fill(descriptor.escape_sequences, joliet_escape, '\0');
    fill_ucs2(descriptor.system_id, "LINUX");
    fill_ucs2(descriptor.volume_id, volume.id);
    fill_ucs2(descriptor.volume_set_id, "");
    fill_ucs2(descriptor.publisher_id, "");
    fill_ucs2(descriptor.preparer_id, "");
    fill_ucs2(descriptor.application_id, "");
    fill_ucs2(descriptor.copyright_file_id, "");
    fill_ucs2(descriptor.abstract_file_id, "");
    fill_ucs2(descriptor.bibliographic_file_id, "");
    store(block, descriptor);
    return block;
}

Bytes terminator() {
    Bytes block(block_bytes);
    iso9660_set_evd(block.data());
    return block;
}

}  // namespace qimg::iso9660
