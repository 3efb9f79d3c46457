// Image: the disk that a guest sees, whatever formats and backing files it is made of.
//
// The only place that knows about overlays: reads fall through to the backing image, writes copy what they
// do not cover. Where a byte lies in a file is the format's business, below.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "qimg/assembly.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"
#include "qimg/units.hpp"

namespace qimg {

class Faults;  // src/storage/faults.hpp
class Format;  // src/format/format.hpp
struct Reservation;

struct OpenOptions {
    std::optional<std::string> format;  // "qcow2", "raw" or "vmdk"; absent: told by the first bytes
    Access access = Access::read_only;
    Locking locking = Locking::qemu;
    bool with_backing = true;     // false: unallocated clusters of an overlay read as zeroes
    bool with_guest_data = true;  // false: only what tables and header tell, also of an encrypted image
    bool for_repair = false;      // an image that is marked corrupt may be opened for writing, too
    bool for_check = false;       // a snapshot table that breaks its rules is left to the check
    bool for_finishing = false;   // interrupted changes may be left, for the caller to finish
    // Told line by line what was found, and mended before the first change, in an image that was not closed
    // cleanly.
    std::function<void(const std::string&)> on_finding = {};
    std::shared_ptr<const Assembly> assembly = nullptr;  // null: the file, and what its header names
};

// An image by its path and how to open it.
struct ImageLocation {
    std::string path;
    OpenOptions open;
};

// Decides which files are opened. An image's header may name others (backing file, data file): those come
// to open_reference, with the path of the image that names them, so that a caller who does not trust the
// image can refuse them.
class Opener {
  public:
    virtual ~Opener() = default;
    virtual Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions& options) = 0;
    virtual Result<std::unique_ptr<Storage>> open_reference(const std::string& named_by,
                                                            const std::string& path,
                                                            const FileOptions& options) {
        static_cast<void>(named_by);
        return open(path, options);
    }
    // The backing image that a header names in another way than by a file's name ("json:{…}", "nbd://…").
    // Errors: unsupported, unless a subclass knows better.
    virtual Result<ImageLocation> locate(const std::string& named_by, const std::string& name);
    // Told by Image::open when every file of the image is open: it opens no other later on.
    virtual void all_is_open() {}
};

// Opens every file it is asked for.
Opener& file_opener();

// A name that stands in the header of the image `named_by`: absolute as it is, otherwise relative to that
// image's folder. "file:" in front is dropped; a name with another protocol stays as it is.
std::string resolve_reference(const std::string& named_by, const std::string& name);
// "nbd:…", "file:…", "json:…": what comes before the colon, when no slash comes first.
std::optional<std::string> protocol_of(const std::string& name);

enum class ExtentKind {
    data,         // bytes in a file, at Extent::host
    compressed,   // bytes in a file, compressed
    zeroes,       // known to read as zeroes
    unallocated,  // in no image of the chain: reads as zeroes
};

// A run of guest bytes that come from the same place in the same way.
struct Extent {
    GuestRange range;
    ExtentKind kind = ExtentKind::unallocated;
    unsigned depth = 0;              // 0: this image, 1: its backing image, …
    std::optional<HostOffset> host;  // of range.start; also for zeroes with space behind them
    std::uint64_t compressed_bytes = 0;
};

enum class Zeroing {
    cheapest,    // what reads as zeroes already stays as it is, also where it is the backing image that does
    keep_space,  // the same, and clusters stay allocated
    own,         // this image says so by itself, whatever the backing image has there now or later
};

class Image {
  public:
    // Opens `path` and, when asked for, every image below it. Names in a header are relative to the folder
    // of the image that holds them. Writes nothing. Errors: of Opener; corrupt and unsupported with the
    // rule broken; invalid_argument for an unknown format; corrupt for a chain that loops.
    static Result<std::unique_ptr<Image>> open(const std::string& path, const OpenOptions& options,
                                               Opener& opener = file_opener());
    // Takes parts that are open already; `backing` may be null.
    Image(std::string path, std::unique_ptr<Format> format, std::unique_ptr<Image> backing);
    ~Image();
    Image(const Image&) = delete;
    Image& operator=(const Image&) = delete;

    const std::string& path() const { return path_; }
    // How the image was put together, when not just from a file; or null.
    const Assembly* assembly() const { return assembly_.get(); }
    // "qcow2", "raw" or "vmdk", also when OpenOptions::format left it open.
    std::string_view format_name() const;
    // Virtual size in bytes.
    std::uint64_t size() const;
    // The image below, or null.
    const Image* backing() const { return backing_.get(); }
    Image* backing() { return backing_.get(); }
    const Format& format() const { return *format_; }
    Format& format() { return *format_; }

    // Calls that the assembly has faults for fail from now on.
    void assemble(std::shared_ptr<const Assembly> assembly);

    // Guest data. Ranges must lie inside size(): invalid_argument otherwise. Reading is safe from several
    // threads while nobody writes.
    Result<void> read(GuestOffset at, std::span<std::byte> into) const;
    Result<void> write(GuestOffset at, std::span<const std::byte> from);
    // The range reads as zeroes afterwards.
    Result<void> write_zeroes(GuestRange range, Zeroing how = Zeroing::cheapest);
    // Gives whole clusters inside the range back. Where there is a backing image (and the format can say so)
    // they read as zeroes afterwards.
    Result<void> discard(GuestRange range);
    // Lets the system begin with what was written to the range, so that flush() finds less to do.
    void start_writeback(GuestRange range);
    // Makes all changes durable, metadata in crash-safe order. Without it they may be lost, but the image
    // is whole: destruction writes nothing.
    Result<void> flush();

    // The longest run known at the start of `range` (not empty, inside size()).
    Result<Extent> extent(GuestRange range) const;

  private:
    Result<void> check_range(GuestRange range) const;
    Result<void> check_faults(Fault::Operation operation, GuestRange range) const;
    Result<void> write_reserved(GuestOffset at, std::span<const std::byte> from);
    Result<void> write_literal_zeroes(GuestRange range, Zeroing how);
    // Space to be written to: not used yet, and it reads as zeroes or may hold anything; or it was given to
    // this part of the disk before, and stays allocated.
    enum class Space { zeroes, unknown, taken };
    Result<Space> look_at_space(const Reservation& reservation) const;
    Result<void> fill_from_chain(GuestRange part, HostOffset to, Space space);
    Result<Extent> locate(GuestRange range) const;

    std::string path_;
    std::unique_ptr<Format> format_;
    std::unique_ptr<Image> backing_;
    std::shared_ptr<const Assembly> assembly_;
    std::unique_ptr<Faults> faults_;
};

}  // namespace qimg
