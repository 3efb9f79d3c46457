// The vmdk format: a disk in one hosted sparse extent, monolithicSparse or streamOptimized.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/bytes.hpp"
#include "format/format.hpp"
#include "format/vmdk/descriptor.hpp"
#include "format/vmdk/grain_tables.hpp"
#include "format/vmdk/header.hpp"

namespace qimg::vmdk {

struct VmdkOptions {
    bool writable = false;
    // false: for a file that nobody sees yet. Nothing is flushed in between, and its CID stays the one it was
    // created with.
    bool ordered = true;
};

// What an entry of a grain table says about its grain.
struct Grain {
    MappingKind kind = MappingKind::unallocated;
    HostOffset host;  // of data: its first byte; of a compressed grain: its marker
};

class Vmdk final : public Format {
  public:
    // Errors: those of read_header and parse_descriptor; invalid_argument for one of version 3 to be written to
    // that is not compressed.
    static Result<std::unique_ptr<Vmdk>> open(std::unique_ptr<Storage> storage, const VmdkOptions& options);
    Vmdk(std::unique_ptr<Storage> storage, const Header& header, Descriptor descriptor,
         const VmdkOptions& options);

    std::string_view name() const override { return "vmdk"; }
    std::uint64_t size() const override { return header_.size; }
    const Storage& storage() const override { return *storage_; }
    Storage& data_storage() override { return *storage_; }
    const Storage& data_storage() const override { return *storage_; }
    std::uint64_t cluster_bytes() const override { return header_.grain_bytes; }
    std::optional<Codec> codec() const override {
        return header_.compressed ? std::optional(Codec::zlib_stream) : std::nullopt;
    }
    bool only_compressed() const override { return header_.compressed; }
    Result<void> describe(ImageInfo& info) const override;

    // Errors: unsupported for streamOptimized images, no_space for a disk too long for the format.
    Result<void> check_can_grow(std::uint64_t bytes) const;
    // Makes the disk longer, to whole sectors; what is added reads as zeroes. Crash-safe by itself. Errors: those of
    // check_can_grow(), of writing to the image; no_space for a descriptor that is full; corrupt for a last grain that
    // lies where tables are.
    Result<void> grow(std::uint64_t bytes);

    const Header& header() const { return header_; }
    const GrainTables& tables() const { return tables_; }
    // Checks an entry, which is the only place where one becomes an offset. Errors: corrupt for a grain that does
    // not begin inside the file.
    Result<Grain> grain(std::uint32_t entry) const;

    Result<Mapping> map(GuestRange range) const override;
    Result<void> read_compressed(const Mapping& mapping, std::uint64_t skip,
                                 std::span<std::byte> into) const override;

    Result<void> prepare_writing(GuestRange range) override;
    Result<Reservation> reserve(GuestRange range) override;
    Result<void> publish(const Reservation& reservation) override;
    void cancel(const Reservation& reservation) override;
    Result<void> write_compressed(GuestOffset cluster, std::span<const std::byte> data) override;
    Result<HostOffset> publish_compressed(GuestOffset cluster, std::uint64_t bytes) override;
    Result<bool> zero(GuestRange range, bool keep_space) override;
    // Nothing: the format has no list of free grains.
    Result<void> discard(GuestRange) override { return {}; }
    Result<void> flush() override;

  private:
    struct Place {
        std::uint64_t table;
        std::uint32_t entry;
    };
    Place place_of(GuestOffset at) const;
    Result<Grain> grain_at(GuestOffset at) const;
    bool may_write_in_place(const Grain& grain) const;
    Result<Mapping> map_table(const Table& table, GuestRange range) const;
    Result<Bytes> read_stream(HostOffset marker) const;
    Result<void> renew_cid();
    Result<HostOffset> place_compressed(GuestOffset cluster, std::uint64_t bytes);
    Result<HostOffset> allocate(std::uint64_t bytes);
    Result<void> set_entry(GuestOffset grain, std::uint32_t entry);
    Result<void> write_tables();
    Result<void> clear_behind_end();
    Result<void> write_longer_directories(std::uint64_t tables, disk::Header& header);
    Result<void> write_extent_length(std::uint64_t bytes);

    std::unique_ptr<Storage> storage_;
    Header header_;
    Descriptor descriptor_;
    VmdkOptions options_;
    GrainTables tables_;
    std::uint64_t file_bytes_ = 0;  // as it was when the image was opened
    bool prepared_ = false;         // what is below is known
    HostOffset free_;               // where the next grain goes: behind everything
};

}  // namespace qimg::vmdk
