// Runs: what a window turns into once its data has been read, tested for zeroes and compressed. The part of a
// conversion that several threads do at once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.hpp"
#include "format/compression.hpp"
#include "operations/convert/plan.hpp"

namespace qimg {

enum class RunKind { zero, data, compressed, share };

// A part of a window that is written in one way. Parts that the target has already are in no run.
struct Run {
    RunKind kind = RunKind::zero;
    GuestRange range;
    std::size_t first = 0;  // compressed: where in `compressed` it lies, and how long it is
    std::size_t bytes = 0;
    const Storage* from = nullptr;  // share: the file that it lies in, and where
    HostOffset from_host{};
};

// Bytes that have their place in the target's file, and are to be brought there.
struct PlacedBytes {
    GuestOffset at;
    HostOffset host;
    std::span<const std::byte> bytes;  // of `data` or `compressed`
};

// The same, to be had by sharing blocks.
struct PlacedShare {
    GuestOffset at;
    HostOffset host;
    const Storage* from = nullptr;
    HostRange from_host;
};

// One window's worth of work, from plan to result. The buffers stay when it is used again.
struct Work {
    Window window;
    std::vector<Run> runs;             // in guest order
    std::vector<GuestRange> non_zero;  // inside the data runs: what is worth writing, in guest order
    Bytes data;                        // the window's bytes
    Bytes base;                        // the backing file's
    Bytes compressed;
    Bytes streams;                      // compressed clusters as they lie in the source's file
    std::vector<std::string> warnings;  // about what could not be salvaged
    std::vector<PlacedBytes> placed;    // what the target has made of it
    std::vector<PlacedShare> shared;
};

struct RunOptions {
    std::uint64_t unit = 0;          // as in PlanOptions
    std::uint64_t sparse_bytes = 0;  // as in ConvertOptions
    const Image* base = nullptr;     // for PieceKind::compare
    std::optional<Codec> codec;      // compress with it
    std::optional<int> level;
    bool salvage = false;  // zeroes instead of what cannot be read
};

// Each thread has its own.
class RunMaker {
  public:
    static Result<RunMaker> make(const Source& source, const RunOptions& options);

    // Fills in everything but `window`. Errors: of reading, with the guest offset.
    Result<void> make_runs(Work& work);

  private:
    RunMaker(const Source& source, const RunOptions& options) : source_(&source), options_(options) {}

    Result<void> take_neighbours(Work& work, std::span<const Piece> pieces) const;
    Result<void> take_verbatim(Work& work, const Piece& piece, std::span<const std::byte> stored) const;
    Result<void> read_piece(Work& work, const Piece& piece);
    GuestRange leading_zeroes(Work& work, GuestRange part) const;
    void split(Work& work, GuestRange part);
    void add_data(Work& work, GuestRange part) const;
    void add_compressed(Work& work, GuestRange part);

    const Source* source_;
    RunOptions options_;
    std::unique_ptr<Compressor> compressor_;
};

}  // namespace qimg
