// The codecs of compressed clusters. The only place that knows zlib, ISA-L, libdeflate and libzstd.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "qimg/error.hpp"

namespace qimg {

// By the names that qcow2 has for the first two: its "zlib" is the stream without zlib's header and checksum.
enum class Codec {
    zlib,         // raw deflate (RFC 1951)
    zstd,         // RFC 8878
    zlib_stream,  // deflate with zlib's header and checksum (RFC 1950): vmdk
};

// Fills `into` from the front of `data`, which may go on behind the compressed stream; how much of `data` was
// the stream. Errors: corrupt when the stream is damaged or holds less than `into`. Thread-safe.
Result<std::size_t> decompress(Codec codec, std::span<const std::byte> data, std::span<std::byte> into);

// How long the stream at the front of `data` is, by what stands in it and without decompressing it; nullopt when
// only that would show it (zlib), or when it does not say that it holds one cluster. Thread-safe.
std::optional<std::size_t> stream_length(Codec codec, std::span<const std::byte> data,
                                         std::uint64_t cluster_bytes);

// Compresses clusters one by one; each thread has its own.
class Compressor {
  public:
    virtual ~Compressor() = default;
    // The compressed form, valid until the next call; nullopt when it would not be smaller than the cluster. A
    // zlib_stream may be larger: where it is used, there are no other clusters.
    virtual std::optional<std::span<const std::byte>> compress(std::span<const std::byte> cluster) = 0;
};

// Without a level: the fast one. Raw deflate keeps to a window of 4 KiB, the most that QEMU's decoder for qcow2
// accepts. Errors: invalid_argument for a level that the codec does not have (zlib 1 to 9, zstd 1 to 19).
Result<std::unique_ptr<Compressor>> make_compressor(Codec codec, std::optional<int> level);

}  // namespace qimg
