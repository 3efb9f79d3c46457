// Plan: what has to be done to which part of the disk, window by window in guest order. Looks at extents
// only; no guest data is read here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "format/qcow2/header.hpp"
#include "operations/convert/source.hpp"
#include "qimg/error.hpp"
#include "qimg/units.hpp"

namespace qimg {

enum class PieceKind {
    keep,      // the target has it through its backing file
    zero,      // known to read as zeroes
    read,      // data to be copied
    compare,   // data that the backing file may or may not have
    verbatim,  // one compressed cluster that can be taken over as it is
};

// A part of a window, from one multiple of the unit to another or to the end of the disk.
struct Piece {
    PieceKind kind = PieceKind::read;
    GuestRange range;
    // verbatim: where the cluster lies
    const Image* holder = nullptr;
    HostOffset host;
    std::uint64_t compressed_bytes = 0;
};

struct Window {
    GuestRange range;
    std::vector<Piece> pieces;
    std::vector<std::string> warnings;  // about what could not be salvaged

    // Only then is it no longer than Plan::window_bytes.
    bool has_data() const;
    // How much of it has to be read.
    std::uint64_t data_bytes() const;
};

struct PlanOptions {
    std::uint64_t size = 0;               // where the plan ends, in bytes; past the source's end are zeroes
    std::uint64_t unit = 0;               // what the target allocates at once, bytes, a power of two
    bool keep_zeroes = true;              // false: known zeroes are copied like data
    std::optional<Codec> verbatim_codec;  // compressed clusters of `unit` bytes in it may be taken over
    bool salvage = false;                 // go on where the source cannot tell what it has
    const Image* base = nullptr;          // the target's backing image, if its content is to be relied on
    std::optional<unsigned> base_depth;   // where in the source's chain `base` is, too
};

class Plan {
  public:
    static constexpr std::uint64_t window_bytes = 2 * MiB;  // a multiple of every unit

    Plan(const Source& source, const PlanOptions& options) : source_(source), options_(options) {}

    // Fills in the next window; false at the end of the disk.
    Result<bool> next(Window& window);

  private:
    Result<Piece> piece_at(GuestOffset at);
    Result<Piece> classify(GuestOffset at);
    void hand_out_warnings(Window& window);
    Result<SourceExtent> extent_from(GuestOffset at);
    Result<Piece> classify_over_base(const SourceExtent& extent) const;
    bool is_verbatim(const SourceExtent& extent) const;

    const Source& source_;
    PlanOptions options_;
    GuestOffset at_;
    struct Warning {
        GuestOffset at;
        std::string text;
    };
    std::vector<Warning> warnings_;  // in guest order, not handed out yet
    GuestOffset warned_up_to_;       // extents may be asked for twice
    std::optional<Piece> last_;      // what classify() found, to be asked for its rest
};

}  // namespace qimg
