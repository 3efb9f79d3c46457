// What compressed clusters promise: round trips, a window that QEMU's decoder accepts, and errors
// instead of wrong bytes. Uses the codecs' own libraries as the second opinion.
// SPDX-License-Identifier: Apache-2.0
#include "format/compression.hpp"

#include <doctest/doctest.h>
#include <zlib.h>
#include <zstd.h>

#include <random>

#include "base/bytes.hpp"
#include "qimg/units.hpp"

using namespace qimg;

namespace {

// Words drawn again and again from near and far: what file systems hold, roughly.
Bytes text_like(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    Bytes out;
    out.reserve(count + 64);
    while (out.size() < count) {
        if (out.size() > 64 && random() % 4 != 0) {
            const std::size_t distance = 1 + random() % std::min<std::size_t>(out.size(), 60000);
            const std::size_t length = 4 + random() % 60;
            for (std::size_t i = 0; i < length; ++i)
                out.push_back(out[out.size() - distance]);
        } else {
            for (int i = 0; i < 6; ++i)
                out.push_back(std::byte(random() & 0x7f));
        }
    }
    out.resize(count);
    return out;
}

Bytes noise(std::size_t count) {
    std::mt19937 random(7);
    Bytes out(count);
    for (std::byte& b : out)
        b = std::byte(random() & 0xff);
    return out;
}

Bytes compressed(Codec codec, std::optional<int> level, std::span<const std::byte> cluster) {
    auto compressor = make_compressor(codec, level).value();
    const auto data = compressor->compress(cluster);
    REQUIRE(data);
    return Bytes(data->begin(), data->end());
}

Bytef* raw(std::span<const std::byte> bytes) {
    return static_cast<Bytef*>(static_cast<void*>(const_cast<std::byte*>(bytes.data())));
}

// Inflates byte by byte, so that zlib can look back no further than its window.
bool inflates_with_window(int bits, const Bytes& data, const Bytes& expected) {
    z_stream stream{};
    REQUIRE(inflateInit2(&stream, -bits) == Z_OK);
    stream.next_in = raw(data);
    stream.avail_in = static_cast<uInt>(data.size());
    bool same = true;
    int status = Z_OK;
    for (std::size_t at = 0; at < expected.size() && same && status == Z_OK; ++at) {
        Bytef out = 0;
        stream.next_out = &out;
        stream.avail_out = 1;
        status = inflate(&stream, Z_NO_FLUSH);
        same = stream.avail_out == 0 && std::byte(out) == expected[at];
    }
    inflateEnd(&stream);
    return same && (status == Z_OK || status == Z_STREAM_END);
}

Bytes deflate_all(const Bytes& plain, int bits) {
    z_stream stream{};
    REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, -bits, 9, Z_DEFAULT_STRATEGY) == Z_OK);
    Bytes out(plain.size() + 1024);
    stream.next_in = raw(plain);
    stream.avail_in = static_cast<uInt>(plain.size());
    stream.next_out = raw(out);
    stream.avail_out = static_cast<uInt>(out.size());
    REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

struct Choice {
    Codec codec;
    std::optional<int> level;
};
const Choice choices[] = {{Codec::zlib, std::nullopt}, {Codec::zlib, 1}, {Codec::zlib, 9},
                          {Codec::zstd, std::nullopt}, {Codec::zstd, 1}, {Codec::zstd, 19}};

}  // namespace

TEST_CASE(
    "every codec and level gives back what went in, at every cluster size, with bytes behind the stream") {
    for (const Choice& choice : choices) {
        auto compressor = make_compressor(choice.codec, choice.level).value();
        for (std::size_t size = 512; size <= 2 * MiB; size *= 2) {
            const Bytes plain = text_like(size, static_cast<unsigned>(size));
            const auto data = compressor->compress(plain);
            REQUIRE(data);
            CHECK(data->size() < size);
            Bytes stored(data->begin(), data->end());
            stored.resize(stored.size() + 777, std::byte{0x5a});
            Bytes back(size);
            const auto length = decompress(choice.codec, stored, back);
            REQUIRE(length);
            CHECK(*length == data->size());
            CHECK(back == plain);
        }
    }
}

TEST_CASE("a zlib_stream is what zlib makes of it, also when it grows, and is known by its checksum") {
    for (const std::optional<int> level : {std::optional<int>(), std::optional(1), std::optional(9)}) {
        auto compressor = make_compressor(Codec::zlib_stream, level).value();
        for (const Bytes& plain :
             {noise(512), noise(64 * KiB), noise(2 * MiB), text_like(64 * KiB, 4), Bytes(64 * KiB)}) {
            const auto data = compressor->compress(plain);
            REQUIRE(data);
            Bytes back(plain.size());
            uLongf length = back.size();
            REQUIRE(::uncompress(raw(back), &length, raw(*data), data->size()) == Z_OK);
            CHECK(back == plain);
            Bytes stored(data->begin(), data->end());
            stored.resize(stored.size() + 100);
            std::fill(back.begin(), back.end(), std::byte{0});
            CHECK(decompress(Codec::zlib_stream, stored, back).value() == data->size());
            CHECK(back == plain);
            // a disk's last grain may be asked for in part
            const auto first = std::span(back).first(300);
            CHECK(decompress(Codec::zlib_stream, stored, first));
            CHECK(std::equal(first.begin(), first.end(), plain.begin()));
            stored[data->size() - 1] ^= std::byte{1};
            CHECK_FALSE(decompress(Codec::zlib_stream, stored, back));
            CHECK_FALSE(decompress(Codec::zlib_stream, std::span(*data).first(data->size() - 5), back));
            CHECK_FALSE(decompress(Codec::zlib_stream, std::span(*data).subspan(2), back));
        }
    }
}

TEST_CASE("a compressor reused after a cluster that did not fit starts afresh") {
    for (const Choice& choice : choices) {
        auto compressor = make_compressor(choice.codec, choice.level).value();
        CHECK_FALSE(compressor->compress(noise(64 * KiB)));
        const Bytes plain = text_like(64 * KiB, 3);
        const auto data = compressor->compress(plain);
        REQUIRE(data);
        CHECK(Bytes(data->begin(), data->end()) == compressed(choice.codec, choice.level, plain));
        Bytes back(plain.size());
        REQUIRE(decompress(choice.codec, *data, back));
        CHECK(back == plain);
    }
}

TEST_CASE("what does not become smaller is not compressed") {
    for (const Choice& choice : choices) {
        auto compressor = make_compressor(choice.codec, choice.level).value();
        for (const std::size_t size : {std::size_t{512}, std::size_t{4096}, std::size_t{2 * MiB}}) {
            CHECK_FALSE(compressor->compress(noise(size)));
        }
        CHECK_FALSE(compressor->compress({}));
    }
}

TEST_CASE("zlib streams look back at most 4 KiB") {
    const Bytes plain = text_like(256 * KiB, 11);
    for (const std::optional<int> level :
         {std::optional<int>{}, std::optional(1), std::optional(6), std::optional(9)}) {
        CHECK(inflates_with_window(12, compressed(Codec::zlib, level, plain), plain));
    }
    // the check itself can fail
    CHECK_FALSE(inflates_with_window(12, deflate_all(plain, 15), plain));
}

TEST_CASE("streams with a larger window, or that go on behind the cluster, are read") {
    const Bytes plain = text_like(128 * KiB, 5);
    const Bytes data = deflate_all(plain, 15);
    Bytes all(plain.size());
    REQUIRE(decompress(Codec::zlib, data, all));
    CHECK(all == plain);
    Bytes first(64 * KiB);
    REQUIRE(decompress(Codec::zlib, data, first));
    CHECK(std::equal(first.begin(), first.end(), plain.begin()));
    const Bytes zstd = compressed(Codec::zstd, std::nullopt, plain);
    std::fill(first.begin(), first.end(), std::byte{0});
    REQUIRE(decompress(Codec::zstd, zstd, first));
    CHECK(std::equal(first.begin(), first.end(), plain.begin()));
}

TEST_CASE("a zstd cluster may be several frames, or a frame without its end") {
    const Bytes plain = text_like(64 * KiB, 6);
    const auto halves = std::span(plain);
    Bytes frames = compressed(Codec::zstd, std::nullopt, halves.first(32 * KiB));
    const Bytes second = compressed(Codec::zstd, std::nullopt, halves.subspan(32 * KiB));
    frames.insert(frames.end(), second.begin(), second.end());
    Bytes back(plain.size());
    REQUIRE(decompress(Codec::zstd, frames, back));
    CHECK(back == plain);

    Bytes open_frame(128 * KiB);
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ZSTD_inBuffer in{plain.data(), plain.size(), 0};
    ZSTD_outBuffer out{open_frame.data(), open_frame.size(), 0};
    REQUIRE(ZSTD_compressStream2(context, &out, &in, ZSTD_e_flush) == 0);
    ZSTD_freeCCtx(context);
    open_frame.resize(out.pos);
    std::fill(back.begin(), back.end(), std::byte{0});
    REQUIRE(decompress(Codec::zstd, open_frame, back));
    CHECK(back == plain);
}

TEST_CASE("short and damaged streams are errors") {
    const Bytes plain = text_like(64 * KiB, 8);
    for (const Codec codec : {Codec::zlib, Codec::zstd}) {
        const Bytes data = compressed(codec, std::nullopt, plain);
        Bytes back(plain.size());
        for (const std::size_t kept : {std::size_t{0}, std::size_t{1}, data.size() / 2, data.size() - 64}) {
            const auto cut = decompress(codec, std::span(data).first(kept), back);
            REQUIRE_FALSE(cut);
            CHECK(cut.error().kind == ErrorKind::corrupt);
        }
        Bytes longer(plain.size() + 1);
        CHECK_FALSE(decompress(codec, data, longer));
        CHECK_FALSE(decompress(codec, Bytes(4096, std::byte{0xff}), back));
        // after an error the next cluster is read as ever
        REQUIRE(decompress(codec, data, back));
        CHECK(back == plain);
    }
}

TEST_CASE("levels that a codec does not have are refused") {
    CHECK_FALSE(make_compressor(Codec::zlib, 0));
    CHECK_FALSE(make_compressor(Codec::zlib, 10));
    CHECK_FALSE(make_compressor(Codec::zstd, 20));
    CHECK(make_compressor(Codec::zstd, 0).error().kind == ErrorKind::invalid_argument);
}

TEST_CASE("a zstd stream tells how long it is, a zlib stream does not") {
    const Bytes cluster = text_like(64 * KiB, 3);
    Bytes stored = compressed(Codec::zstd, std::nullopt, cluster);
    const std::size_t length = stored.size();
    const Bytes neighbour = noise(700);
    stored.insert(stored.end(), neighbour.begin(), neighbour.end());
    CHECK(stream_length(Codec::zstd, stored, cluster.size()) == length);
    CHECK_FALSE(stream_length(Codec::zstd, stored, 2 * cluster.size()));
    CHECK_FALSE(stream_length(Codec::zstd, std::span(stored).first(length - 1), cluster.size()));
    stored[0] ^= std::byte{1};
    CHECK_FALSE(stream_length(Codec::zstd, stored, cluster.size()));
    CHECK_FALSE(stream_length(Codec::zlib, compressed(Codec::zlib, std::nullopt, cluster), cluster.size()));
}
