// The codecs of compressed clusters, behind decompress() and Compressor. Speed comes from libdeflate
// (inflate) and ISA-L (deflate without a level); zlib covers what these two leave out, and ISA-L's place where
// that is not installed.
// SPDX-License-Identifier: Apache-2.0
#include "format/compression.hpp"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <limits>

#include "base/bytes.hpp"
#include "base/isal.hpp"
#include "base/text.hpp"

namespace qimg {

namespace {

// qcow2 "Compressed Clusters": raw deflate, whose window QEMU's decoder sets to 4 KiB.
constexpr int window_bits = 12;
constexpr int raw_deflate = -window_bits;    // zlib's way to say: no header, no checksum
constexpr int raw_deflate_any_window = -15;  // for reading: other writers may not have kept to 4 KiB
constexpr int zlib_any_window = 15;          // with header and checksum
constexpr int memory_level = 9;              // zlib's best, for a cluster at a time
// Without a level: a table of 16 KiB stays in the first-level cache, which is a tenth faster and 1 % larger.
constexpr int zstd_fast_level = 1;
constexpr int zstd_fast_table_bits = 12;
constexpr int zstd_highest_level = 19;  // levels above need much memory in the reader, too
constexpr int zlib_highest_level = 9;

template <auto Free>
struct FreeWith {
    template <class T>
    void operator()(T* handle) const {
        Free(handle);
    }
};

// The pointer that zlib and ISA-L want, for input (which they only read) and output alike.
unsigned char* raw(std::span<const std::byte> bytes) {
    return static_cast<unsigned char*>(static_cast<void*>(const_cast<std::byte*>(bytes.data())));
}

std::unexpected<Error> fail_memory() {
    return fail(ErrorKind::io, "out of memory for a codec");
}

// A z_stream that is initialised once and reset for each cluster.
class Inflater {
  public:
    explicit Inflater(int window) : window_(window) {}
    ~Inflater() {
        if (ready_) ::inflateEnd(&stream_);
    }
    // The bytes read when `into` is full. The stream need not end there, as in QEMU's decoder.
    std::optional<std::size_t> run(std::span<const std::byte> data, std::span<std::byte> into) {
        if (!ready_) ready_ = ::inflateInit2(&stream_, window_) == Z_OK;
        if (!ready_ || ::inflateReset(&stream_) != Z_OK) return std::nullopt;
        stream_.next_in = raw(data);
        stream_.avail_in =
            static_cast<uInt>(std::min<std::size_t>(data.size(), std::numeric_limits<uInt>::max()));
        stream_.next_out = raw(into);
        stream_.avail_out = static_cast<uInt>(into.size());
        const int status = ::inflate(&stream_, Z_FINISH);
        if ((status != Z_STREAM_END && status != Z_BUF_ERROR) || stream_.avail_out != 0) return std::nullopt;
        const std::size_t consumed = stream_.total_in;
        if (status == Z_STREAM_END || window_ == raw_deflate_any_window || goes_on()) return consumed;
        return std::nullopt;
    }

  private:
    // Whether the stream holds more than was asked for, or ends with the right checksum: not when it was cut.
    bool goes_on() {
        unsigned char next = 0;
        stream_.next_out = &next;
        stream_.avail_out = 1;
        return ::inflate(&stream_, Z_FINISH) == Z_STREAM_END || stream_.avail_out == 0;
    }

    int window_;
    z_stream stream_{};
    bool ready_ = false;
};

Result<std::size_t> inflate_cluster(Codec codec, std::span<const std::byte> data, std::span<std::byte> into) {
    using Decompressor = std::unique_ptr<libdeflate_decompressor, FreeWith<libdeflate_free_decompressor>>;
    thread_local const Decompressor fast(libdeflate_alloc_decompressor());
    if (!fast) return fail_memory();
    std::size_t consumed = 0;
    const bool is_raw = codec == Codec::zlib;
    const auto run = is_raw ? libdeflate_deflate_decompress_ex : libdeflate_zlib_decompress_ex;
    const auto status =
        run(fast.get(), data.data(), data.size(), into.data(), into.size(), &consumed, nullptr);
    if (status == LIBDEFLATE_SUCCESS) return consumed;
    // libdeflate wants streams that end exactly at the cluster's end; qcow2 only wants a full cluster, and vmdk
    // a stream that is whole, of which the end of the disk may cut off something
    thread_local Inflater patient_raw(raw_deflate_any_window);
    thread_local Inflater patient_zlib(zlib_any_window);
    Inflater& patient = is_raw ? patient_raw : patient_zlib;
    const bool may_be_whole =
        is_raw ? status != LIBDEFLATE_SHORT_OUTPUT : status == LIBDEFLATE_INSUFFICIENT_SPACE;
    const auto length = may_be_whole ? patient.run(data, into) : std::nullopt;
    if (length) return *length;
    return fail(ErrorKind::corrupt, "compressed data is damaged");
}

// The stream may be one frame, several, or one without its end; only the cluster must be full.
Result<std::size_t> unzstd_cluster(std::span<const std::byte> data, std::span<std::byte> into) {
    thread_local const std::unique_ptr<ZSTD_DCtx, FreeWith<ZSTD_freeDCtx>> context(ZSTD_createDCtx());
    if (!context) return fail_memory();
    ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
    ZSTD_inBuffer in{data.data(), data.size(), 0};
    ZSTD_outBuffer out{into.data(), into.size(), 0};
    std::size_t status = 0;
    while (out.pos < out.size) {
        const std::size_t before = in.pos + out.pos;
        status = ZSTD_decompressStream(context.get(), &out, &in);
        if (ZSTD_isError(status))
            return failf(ErrorKind::corrupt, "compressed data is damaged: {}", ZSTD_getErrorName(status));
        if (in.pos + out.pos == before) return fail(ErrorKind::corrupt, "compressed data ends too early");
    }
    // what may be left of the frame, its checksum for one, belongs to the stream
    if (status != 0) ZSTD_decompressStream(context.get(), &out, &in);
    return in.pos;
}

// Room for what would still be smaller than the cluster; for a zlib_stream, for whatever it becomes.
std::span<std::byte> room_for(Codec codec, Bytes& buffer, std::size_t cluster_bytes) {
    if (cluster_bytes == 0) return {};
    if (codec == Codec::zlib_stream) {
        // stored as it is, deflate takes 5 bytes for each of its blocks, which hold 16 KiB at the least
        constexpr std::size_t frame = 64;
        buffer.resize(cluster_bytes + cluster_bytes / 1024 + frame);
        return buffer;
    }
    buffer.resize(cluster_bytes);
    return std::span(buffer).first(cluster_bytes - 1);
}

class IsalCompressor final : public Compressor {
  public:
    IsalCompressor(const Isal& isal, Codec codec)
        : isal_(isal),
          codec_(codec),
          stream_(std::make_unique<isal_zstream>()),
          level_buffer_(ISAL_DEF_LVL1_DEFAULT) {
        isal_.isal_deflate_init(stream_.get());
    }

    std::optional<std::span<const std::byte>> compress(std::span<const std::byte> cluster) override {
        const auto room = room_for(codec_, buffer_, cluster.size());
        isal_.isal_deflate_reset(stream_.get());
        stream_->level = 1;
        stream_->level_buf = raw(level_buffer_);
        stream_->level_buf_size = static_cast<std::uint32_t>(level_buffer_.size());
        stream_->hist_bits = codec_ == Codec::zlib ? window_bits : 0;  // 0: the whole 32 KiB
        stream_->gzip_flag = codec_ == Codec::zlib ? IGZIP_DEFLATE : IGZIP_ZLIB;
        stream_->end_of_stream = 1;
        stream_->flush = NO_FLUSH;
        stream_->next_in = raw(cluster);
        stream_->avail_in = static_cast<std::uint32_t>(cluster.size());
        stream_->next_out = raw(room);
        stream_->avail_out = static_cast<std::uint32_t>(room.size());
        if (isal_.isal_deflate(stream_.get()) != COMP_OK || stream_->internal_state.state != ZSTATE_END)
            return std::nullopt;
        return room.first(stream_->total_out);
    }

  private:
    const Isal& isal_;
    Codec codec_;
    std::unique_ptr<isal_zstream> stream_;
    Bytes level_buffer_;
    Bytes buffer_;
};

class ZlibCompressor final : public Compressor {
  public:
    explicit ZlibCompressor(Codec codec) : codec_(codec) {}
    ~ZlibCompressor() override { ::deflateEnd(&stream_); }

    bool start(int level) {
        const int window = codec_ == Codec::zlib ? raw_deflate : zlib_any_window;
        return ::deflateInit2(&stream_, level, Z_DEFLATED, window, memory_level, Z_DEFAULT_STRATEGY) == Z_OK;
    }

    std::optional<std::span<const std::byte>> compress(std::span<const std::byte> cluster) override {
        const auto room = room_for(codec_, buffer_, cluster.size());
        if (::deflateReset(&stream_) != Z_OK) return std::nullopt;
        stream_.next_in = raw(cluster);
        stream_.avail_in = static_cast<uInt>(cluster.size());
        stream_.next_out = raw(room);
        stream_.avail_out = static_cast<uInt>(room.size());
        if (::deflate(&stream_, Z_FINISH) != Z_STREAM_END) return std::nullopt;
        return room.first(stream_.total_out);
    }

  private:
    Codec codec_;
    z_stream stream_{};
    Bytes buffer_;
};

using ZstdContext = std::unique_ptr<ZSTD_CCtx, FreeWith<ZSTD_freeCCtx>>;

class ZstdCompressor final : public Compressor {
  public:
    explicit ZstdCompressor(ZstdContext context) : context_(std::move(context)) {}

    std::optional<std::span<const std::byte>> compress(std::span<const std::byte> cluster) override {
        const auto room = room_for(Codec::zstd, buffer_, cluster.size());
        const std::size_t size =
            ZSTD_compress2(context_.get(), room.data(), room.size(), cluster.data(), cluster.size());
        if (ZSTD_isError(size)) return std::nullopt;
        return room.first(size);
    }

  private:
    ZstdContext context_;
    Bytes buffer_;
};

Result<std::unique_ptr<Compressor>> make_zlib(Codec codec, std::optional<int> level) {
    const Isal* const isal = level ? nullptr : load_isal();
    if (isal != nullptr) return std::make_unique<IsalCompressor>(*isal, codec);
    auto compressor = std::make_unique<ZlibCompressor>(codec);
    if (!compressor->start(level.value_or(Z_BEST_SPEED))) return fail_memory();
    return compressor;
}

Result<std::unique_ptr<Compressor>> make_zstd(std::optional<int> level) {
    ZstdContext context(ZSTD_createCCtx());
    const auto set = [&](ZSTD_cParameter parameter, int value) {
        return !ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), parameter, value));
    };
    if (!context || !set(ZSTD_c_compressionLevel, level.value_or(zstd_fast_level))) return fail_memory();
    if (!level && !set(ZSTD_c_hashLog, zstd_fast_table_bits)) return fail_memory();
    return std::make_unique<ZstdCompressor>(std::move(context));
}

}  // namespace

Result<std::size_t> decompress(Codec codec, std::span<const std::byte> data, std::span<std::byte> into) {
    return codec == Codec::zstd ? unzstd_cluster(data, into) : inflate_cluster(codec, data, into);
}

std::optional<std::size_t> stream_length(Codec codec, std::span<const std::byte> data,
                                         std::uint64_t cluster_bytes) {
    if (codec != Codec::zstd) return std::nullopt;
    if (ZSTD_getFrameContentSize(data.data(), data.size()) != cluster_bytes) return std::nullopt;
    const std::size_t length = ZSTD_findFrameCompressedSize(data.data(), data.size());
    if (ZSTD_isError(length)) return std::nullopt;
    return length;
}

Result<std::unique_ptr<Compressor>> make_compressor(Codec codec, std::optional<int> level) {
    const int highest = codec == Codec::zstd ? zstd_highest_level : zlib_highest_level;
    if (level && (*level < 1 || *level > highest)) {
        return failf(ErrorKind::invalid_argument, "compression level {} is not between 1 and {}", *level,
                     highest);
    }
    return codec == Codec::zstd ? make_zstd(level) : make_zlib(codec, level);
}

}  // namespace qimg
