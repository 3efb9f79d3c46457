// Format: where each guest byte lives in a file. One subclass per image format.
//
// A format maps, reserves and publishes; it moves no guest data (except that it can read what it stored
// compressed), opens no files and sees no backing image. The image layer does the rest.
//
// Writing guest data where nothing can be overwritten in place goes reserve → write → publish: a crash
// before publish leaves the old content, and reserved space at worst leaks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "format/compression.hpp"
#include "qimg/error.hpp"
#include "qimg/image_info.hpp"
#include "qimg/storage.hpp"
#include "qimg/units.hpp"

namespace qimg {

enum class MappingKind {
    data,         // bytes at Mapping::host
    zeroes,       // reads as zeroes
    unallocated,  // whatever the backing image has there, else zeroes
    compressed,   // one cluster, through read_compressed
};

// A run of guest bytes that live in the same place in the same way.
struct Mapping {
    GuestRange range;
    MappingKind kind = MappingKind::unallocated;
    std::optional<HostOffset> host;  // of range.start in data_storage(); for zeroes: space kept behind them
    bool in_place = false;           // guest data may be written at `host` without more ado
    std::uint64_t compressed_bytes = 0;  // the most that a compressed cluster occupies at `host`
};

// Space that guest data can be written to before any guest sees it.
struct Reservation {
    GuestRange cover;   // what publish() will make visible: all of it must have been written. May end past
                        // the end of the disk, for a last cluster that is cut short
    HostOffset host;    // of cover.start in data_storage()
    bool fresh = true;  // false: the space was allocated before and publish only changes what it means
};

class Format {
  public:
    virtual ~Format() = default;
    Format(const Format&) = delete;
    Format& operator=(const Format&) = delete;

    virtual std::string_view name() const = 0;  // "qcow2", "raw", "vmdk"
    // Virtual size in bytes.
    virtual std::uint64_t size() const = 0;
    // The image file, and the file that guest data is in (often the same).
    virtual const Storage& storage() const = 0;
    virtual Storage& data_storage() = 0;
    virtual const Storage& data_storage() const = 0;
    // The name and format of the backing image as the file says them.
    virtual std::optional<std::string> backing_file() const { return std::nullopt; }
    virtual std::optional<std::string> backing_format() const { return std::nullopt; }
    // The unit that guest space is allocated in (qcow2: a cluster), and the smaller one that can be written
    // without copying (qcow2: a subcluster). Bytes, powers of two.
    virtual std::uint64_t cluster_bytes() const = 0;
    virtual std::uint64_t subcluster_bytes() const { return cluster_bytes(); }
    // The codec of its compressed clusters; empty where it has none.
    virtual std::optional<Codec> codec() const { return std::nullopt; }
    // True where guest data can only be stored compressed: in whole clusters, each of them once.
    virtual bool only_compressed() const { return false; }
    // Fills in what only this format knows; the rest is the image layer's.
    virtual Result<void> describe(ImageInfo& info) const = 0;

    // The longest run known at the start of `range`, which is not empty and inside size(). Thread-safe while
    // nobody writes.
    virtual Result<Mapping> map(GuestRange range) const = 0;
    // Reads from a compressed mapping, `skip` bytes after its start. Thread-safe while nobody writes.
    virtual Result<void> read_compressed(const Mapping& mapping, std::uint64_t skip,
                                         std::span<std::byte> into) const = 0;

    // To be called before guest data in `range` is written in place or to reserved space; the functions below
    // that change by themselves what guests see do so.
    virtual Result<void> prepare_writing(GuestRange range) {
        static_cast<void>(range);
        return {};
    }
    // Space for guest data at range.start and as much of the range as can be had in one run.
    virtual Result<Reservation> reserve(GuestRange range) = 0;
    virtual Result<void> publish(const Reservation& reservation) = 0;
    // Gives the space back, unpublished.
    virtual void cancel(const Reservation& reservation) = 0;
    // Stores one whole cluster compressed; `data` is what the format's codec made of it.
    virtual Result<void> write_compressed(GuestOffset cluster, std::span<const std::byte> data) = 0;
    // Finds space in storage() for a compressed cluster of so many bytes and makes it visible, before the caller
    // writes them there: for an image that nobody else sees yet.
    virtual Result<HostOffset> publish_compressed(GuestOffset cluster, std::uint64_t bytes) = 0;
    // Makes whole subclusters read as zeroes through metadata alone; false where the format cannot say that.
    // With `keep_space`, the space stays allocated.
    virtual Result<bool> zero(GuestRange range, bool keep_space) = 0;
    // Gives whole clusters back; they read as zeroes, or stay as they are where that cannot be said.
    virtual Result<void> discard(GuestRange range) = 0;
    // Makes everything durable. Metadata reaches the file in an order in which a crash between any two
    // writes leaks clusters at worst.
    virtual Result<void> flush() = 0;

  protected:
    Format() = default;
};

}  // namespace qimg
