// Plan: what has to be done to which part of the disk, window by window in guest order. Looks at extents
// only; no guest data is read here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "format/qcow2/header.hpp"
#include "operations/convert/source.hpp"
#include "qimg/error.hpp"
#include "qimg/units.hpp"

namespace qimg {

// What file systems share at once, bytes: a block.
inline constexpr std::uint64_t shared_unit = 4 * KiB;

enum class PieceKind {
    keep,      // the target has it through its backing file
    zero,      // known to read as zeroes
    read,      // data to be copied
    compare,   // data that the backing file may or may not have
    verbatim,  // one compressed cluster that can be taken over as it is
    share,     // data whose blocks the target's file can have as well
};

// A part of a window, from one multiple of the unit to another or to the end of the disk.
struct Piece {
    PieceKind kind = PieceKind::read;
    GuestRange range;
    // verbatim, share: where it lies
    const Image* holder = nullptr;
    HostOffset host;
    std::uint64_t compressed_bytes = 0;
};

struct Window {
    GuestRange range;
    std::vector<Piece> pieces;
    std::vector<std::string> warnings;  // about what could not be salvaged

    // Something has to be read; only then is it no longer than Plan::window_bytes_max.
    bool has_data() const;
    // How much of it is copied, one way or another.
    std::uint64_t data_bytes() const;
};

struct PlanOptions {
    std::uint64_t size = 0;               // where the plan ends, in bytes; past the source's end are zeroes
    std::uint64_t unit = 0;               // what the target allocates at once, bytes, a power of two
    std::uint64_t window_bytes = MiB;     // how much is worked on at once, at least a unit; a power of two
    bool keep_zeroes = true;              // false: known zeroes are copied like data
    std::optional<Codec> verbatim_codec;  // compressed clusters of `unit` bytes in it may be taken over
    Storage* share_with = nullptr;        // whose blocks may be shared with the sources' files
    bool salvage = false;                 // go on where the source cannot tell what it has
    const Image* base = nullptr;          // the target's backing image, if its content is to be relied on
    std::optional<unsigned> base_depth;   // where in the source's chain `base` is, too
};

class Plan {
  public:
    static constexpr std::uint64_t window_bytes_max = 2 * MiB;  // a multiple of every unit

    Plan(const Source& source, const PlanOptions& options);

    // Fills in the next window; false at the end of the disk.
    Result<bool> next(Window& window);

  private:
    Result<Piece> piece_at(GuestOffset at);
    Result<Piece> classify(GuestOffset at);
    void hand_out_warnings(Window& window);
    Result<SourceExtent> extent_from(GuestOffset at);
    Result<Piece> classify_over_base(const SourceExtent& extent) const;
    bool is_verbatim(const SourceExtent& extent) const;
    std::uint64_t shareable_bytes(const SourceExtent& extent);
    bool can_share(const Image& holder);

    const Source& source_;
    PlanOptions options_;
    GuestOffset at_;
    struct Warning {
        GuestOffset at;
        std::string text;
    };
    std::vector<Warning> warnings_;  // in guest order, not handed out yet
    GuestOffset warned_up_to_;       // extents may be asked for twice
    std::uint64_t window_bytes_;
    std::map<const Image*, bool> can_share_;
    std::optional<Piece> last_;  // what classify() found, to be asked for its rest
};

}  // namespace qimg
