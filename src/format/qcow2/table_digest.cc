// Reading all L2 tables in the order of the file, each into a checksum, and those into a digest.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/table_digest.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "base/checked.hpp"
#include "base/endian.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

// A hostile L1 table has millions of entries, so this is as small as can be.
struct Table {
    std::uint64_t value;  // where it is, then its checksum; 0: nothing in it
    std::uint32_t index;  // in the L1 table
};

template <class Integer>
void add(Sha256& digest, Integer value) {
    digest.update(std::as_bytes(std::span(&value, 1)));
}

void add_name(Sha256& digest, const std::optional<std::string>& name) {
    const std::string text = name.value_or("");
    add(digest, be32(static_cast<std::uint32_t>(text.size())));
    digest.update(bytes_of(text));
}

void add_header(Sha256& digest, const Header& header) {
    const std::uint32_t flags = (header.geometry.extended_l2() ? 1u : 0) | (header.has_data_file() ? 2u : 0) |
                                (header.codec == Codec::zstd ? 4u : 0);
    add(digest, be32(header.geometry.cluster_bits()));
    add(digest, be32(flags));
    add_name(digest, header.backing_file);
    add_name(digest, header.backing_format());
    add_name(digest, header.has_data_file() ? header.text_extension(disk::extension_data_file)
                                            : std::optional<std::string>());
}

// Reads tables one by one, by ascending offsets.
class TableReader {
  public:
    TableReader(const Qcow2& image, std::uint64_t file_bytes)
        : image_(image), file_bytes_(file_bytes), table_(image.cluster_bytes()) {}

    // 0 for a table without entries.
    Result<std::uint64_t> checksum(HostOffset at) {
        if (at == last_at_) return last_;
        last_at_ = at;
        last_ = 0;
        const std::uint64_t bytes = table_.size();
        const bool is_inside = image_.geometry().is_cluster_aligned(at.bytes) && at.bytes < file_bytes_;
        if (!is_inside) return last_ = at.bytes;
        if (at >= known_.end()) {
            const StorageExtent extent = TRY(image_.storage().extent(at));
            known_ = HostRange(at, std::max<std::uint64_t>(extent.length, 1));
            known_is_data_ = extent.data;
        }
        if (!known_is_data_ && at.bytes + bytes <= known_.end().bytes) return last_;
        TRY(image_.storage().read(at, table_));
        mask_copied();
        if (!is_zero(table_)) last_ = crc64(table_);
        return last_;
    }

  private:
    // Snapshots clear that flag and bring it back. With a data file it says that the cluster has a place, and
    // there are no snapshots.
    void mask_copied() {
        if (image_.header().has_data_file()) return;
        for (std::size_t at = 0; at < table_.size(); at += image_.geometry().l2_entry_bytes())
            table_[at] &= std::byte{0x7f};
    }

    const Qcow2& image_;
    std::uint64_t file_bytes_;
    Bytes table_;
    HostRange known_;
    bool known_is_data_ = false;
    HostOffset last_at_{0};
    std::uint64_t last_ = 0;
};

}  // namespace

Result<Digest> table_digest(const Qcow2& image) {
    std::vector<Table> tables;
    const auto l1 = TRY(image.l1());
    for (std::size_t i = 0; i < l1.size(); ++i) {
        const std::uint64_t at = l1[i] & disk::offset_mask;
        if (at != 0) tables.push_back({at, static_cast<std::uint32_t>(i)});
    }
    std::ranges::sort(tables, {}, &Table::value);
    const std::uint64_t file_bytes = TRY(image.storage().size());
    TableReader reader(image, file_bytes);
    for (Table& table : tables)
        table.value = TRY(reader.checksum(HostOffset(table.value)));
    std::ranges::sort(tables, {}, &Table::index);
    Sha256 digest;
    add_header(digest, image.header());
    for (const Table& table : tables) {
        if (table.value == 0) continue;
        add(digest, be64(table.index));
        add(digest, be64(table.value));
    }
    return digest.finish();
}

}  // namespace qimg::qcow2
