// What a conversion plans, reads, leaves out and compresses, on images in memory; and the threads' order.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <random>
#include <thread>

#include "base/bytes.hpp"
#include "format/qcow2/create.hpp"
#include "format/raw/raw.hpp"
#include "operations/convert/plan.hpp"
#include "operations/convert/runs.hpp"
#include "operations/crew.hpp"

using namespace qimg;

namespace {

// Opens storages in memory by name.
class MemoryOpener final : public Opener {
  public:
    Storage& add(const std::string& name) {
        files_.emplace_back(name, memory_storage(name));
        return *files_.back().second;
    }
    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions&) override {
        for (const auto& [name, file] : files_) {
            if (name == path) return borrow_storage(*file);
        }
        return fail(ErrorKind::not_found, path);
    }

  private:
    std::vector<std::pair<std::string, std::unique_ptr<Storage>>> files_;
};

Bytes noise(std::size_t count) {
    std::mt19937 random(5);
    Bytes out(count);
    for (std::byte& b : out)
        b = std::byte(random() % 255 + 1);
    return out;
}

Bytes filled(std::size_t count, int value) {
    return Bytes(count, std::byte(value));
}

struct Disk {
    explicit Disk(std::uint64_t size, Qcow2Layout layout = {}) {
        Storage& file = opener.add("disk");
        REQUIRE(qcow2::create_empty(file, layout, size));
        qcow2::Qcow2Options writable;
        writable.writable = true;
        image = std::make_unique<Image>("disk", qcow2::Qcow2::open(borrow_storage(file), writable).value(),
                                        nullptr);
    }
    void write(std::uint64_t at, const Bytes& bytes) { REQUIRE(image->write(GuestOffset(at), bytes)); }
    void write_compressed(std::uint64_t at, const Bytes& cluster, Codec codec = Codec::zlib) {
        auto compressor = make_compressor(codec, std::nullopt).value();
        REQUIRE(image->format().write_compressed(GuestOffset(at), *compressor->compress(cluster)));
    }
    Source source() {
        REQUIRE(image->flush());
        ConvertOptions options;
        options.sources = {{"disk", {}}};
        return Source::open(options, opener).value();
    }

    MemoryOpener opener;
    std::unique_ptr<Image> image;
};

std::vector<Window> all_windows(const Source& source, PlanOptions options) {
    if (options.size == 0) options.size = source.size();
    Plan plan(source, options);
    std::vector<Window> windows;
    for (Window window; plan.next(window).value();)
        windows.push_back(window);
    return windows;
}

PlanOptions unit_of(std::uint64_t unit) {
    PlanOptions options;
    options.unit = unit;
    return options;
}

Work run(const Source& source, const Window& window, const RunOptions& options) {
    Work work;
    work.window = window;
    REQUIRE(RunMaker::make(source, options).value().make_runs(work));
    return work;
}

}  // namespace

TEST_CASE("windows follow one another without gaps, and those with data are not too long") {
    Disk disk(64 * MiB);
    for (const std::uint64_t at : {3 * MiB, 3 * MiB + 640 * KiB, 20 * MiB, 64 * MiB - 64 * KiB}) {
        disk.write(at, filled(100, 1));
    }
    const Source source = disk.source();
    GuestOffset end;
    for (const Window& window : all_windows(source, unit_of(64 * KiB))) {
        CHECK(window.range.start == end);
        GuestOffset piece_end = end;
        for (const Piece& piece : window.pieces) {
            CHECK(piece.range.start == piece_end);
            piece_end = piece.range.end();
        }
        CHECK(piece_end == window.range.end());
        if (window.has_data()) CHECK(window.range.length <= Plan::window_bytes_max);
        end = window.range.end();
    }
    CHECK(end.bytes == 64 * MiB);
}

TEST_CASE("an empty disk is one window of zeroes") {
    Disk disk(1 * TiB);
    const Source source = disk.source();
    const auto windows = all_windows(source, unit_of(64 * KiB));
    REQUIRE(windows.size() <= 2);
    CHECK_FALSE(windows[0].has_data());
}

TEST_CASE("a unit of the target that is data only in part is read whole") {
    Qcow2Layout small;
    small.cluster_bytes = 4096;
    Disk disk(1 * MiB, small);
    disk.write(68 * KiB, filled(4096, 7));
    const Source source = disk.source();
    const auto windows = all_windows(source, unit_of(64 * KiB));
    REQUIRE(windows.size() == 1);
    REQUIRE(windows[0].pieces.size() == 3);
    CHECK(windows[0].pieces[1].kind == PieceKind::read);
    CHECK(windows[0].pieces[1].range == GuestRange(GuestOffset(64 * KiB), 64 * KiB));
}

TEST_CASE("compressed clusters are taken over only when codec and cluster size are the target's") {
    Disk disk(1 * MiB);
    const Bytes cluster = filled(64 * KiB, 3);
    disk.write_compressed(128 * KiB, cluster);
    const Source source = disk.source();
    PlanOptions same = unit_of(64 * KiB);
    same.verbatim_codec = Codec::zlib;
    const auto windows = all_windows(source, same);
    REQUIRE(windows[0].pieces.size() == 3);
    REQUIRE(windows[0].pieces[1].kind == PieceKind::verbatim);
    RunOptions options;
    options.unit = 64 * KiB;
    options.sparse_bytes = 4096;
    options.codec = Codec::zlib;
    const Work work = run(source, windows[0], options);
    REQUIRE(work.runs[1].kind == RunKind::compressed);
    Bytes back(64 * KiB);
    REQUIRE(decompress(Codec::zlib, work.compressed, back) == work.runs[1].bytes);
    CHECK(back == cluster);

    PlanOptions other_codec = same;
    other_codec.verbatim_codec = Codec::zstd;
    CHECK(all_windows(source, other_codec)[0].pieces[1].kind == PieceKind::read);
    PlanOptions other_size = same;
    other_size.unit = 128 * KiB;
    CHECK(all_windows(source, other_size)[0].pieces[1].kind == PieceKind::read);
}

TEST_CASE("of compressed clusters that lie side by side each takes only its own stream along") {
    for (const Codec codec : {Codec::zlib, Codec::zstd}) {
        Qcow2Layout layout;
        layout.compression_type = codec == Codec::zstd ? "zstd" : "zlib";
        Disk disk(4 * MiB, layout);
        std::mt19937 random(3);
        std::vector<Bytes> clusters;
        for (std::uint64_t i = 0; i < 40; ++i) {
            // half of it is noise, so that the streams are of several sectors; the last one is of zeroes
            Bytes& cluster = clusters.emplace_back(64 * KiB);
            for (std::size_t k = 0; i < 39 && k < 32 * KiB + i; ++k)
                cluster[k] = std::byte(random() & 0xff);
            disk.write_compressed(i * 64 * KiB, cluster, codec);
        }
        const Source source = disk.source();
        PlanOptions plan = unit_of(64 * KiB);
        plan.verbatim_codec = codec;
        RunOptions options;
        options.unit = 64 * KiB;
        options.sparse_bytes = 4096;
        options.codec = codec;
        std::size_t seen = 0;
        for (const Window& window : all_windows(source, plan)) {
            const Work work = run(source, window, options);
            for (const Run& run : work.runs) {
                if (run.kind != RunKind::compressed) continue;
                const auto stream = std::span(work.compressed).subspan(run.first, run.bytes);
                Bytes back(64 * KiB);
                CHECK(decompress(codec, stream, back) == stream.size());
                CHECK(back == clusters[run.range.start.bytes / (64 * KiB)]);
                ++seen;
            }
        }
        CHECK(seen == 39);
    }
}

TEST_CASE("zeroes inside data are left out when they are long enough") {
    Disk disk(1 * MiB);
    Bytes data = noise(128 * KiB);
    std::fill_n(data.begin() + 16 * KiB, 8 * KiB, std::byte{0});
    std::fill_n(data.begin() + 40 * KiB, 4 * KiB, std::byte{0});
    disk.write(0, data);
    const Source source = disk.source();
    const auto windows = all_windows(source, unit_of(64 * KiB));
    RunOptions options;
    options.unit = 64 * KiB;
    options.sparse_bytes = 4096;
    CHECK(run(source, windows[0], options).non_zero ==
          std::vector{GuestRange(GuestOffset(0), 16 * KiB), GuestRange(GuestOffset(24 * KiB), 16 * KiB),
                      GuestRange(GuestOffset(44 * KiB), 84 * KiB)});
    options.sparse_bytes = 8192;
    CHECK(run(source, windows[0], options).non_zero.size() == 2);
    options.sparse_bytes = 0;
    CHECK(run(source, windows[0], options).non_zero == std::vector{GuestRange(GuestOffset(0), 128 * KiB)});
}

TEST_CASE("data that does not compress is written as it is, zeroes are runs of zeroes") {
    Disk disk(1 * MiB);
    disk.write(0, noise(64 * KiB));
    disk.write(64 * KiB, filled(64 * KiB, 9));
    disk.write(128 * KiB, filled(64 * KiB, 0));
    const Source source = disk.source();
    RunOptions options;
    options.unit = 64 * KiB;
    options.sparse_bytes = 4096;
    options.codec = Codec::zstd;
    const Work work = run(source, all_windows(source, unit_of(64 * KiB))[0], options);
    REQUIRE(work.runs.size() == 3);
    CHECK(work.runs[0].kind == RunKind::data);
    CHECK(work.runs[1].kind == RunKind::compressed);
    CHECK(work.runs[2].kind == RunKind::zero);
}

TEST_CASE("a raw file that ends inside a sector reads as zeroes up to the sector's end") {
    MemoryOpener opener;
    REQUIRE(opener.add("raw").write(HostOffset(0), filled(700, 1)));
    ConvertOptions options;
    options.sources = {{"raw", {}}, {"raw", {}}};
    const Source source = Source::open(options, opener).value();
    CHECK(source.size() == 2048);
    Bytes all(3000, std::byte{0xee});
    REQUIRE(source.read(GuestOffset(0), all));
    CHECK(is_zero(std::span(all).subspan(700, 324)));
    CHECK(all[1024] == std::byte{1});
    CHECK(is_zero(std::span(all).subspan(1724)));
}

TEST_CASE("a crew does every slot, the first few without threads") {
    std::vector<int> seen(8, 0);
    std::vector<std::thread::id> by(8);
    Crew crew(3, 8, [&](std::size_t, std::size_t slot) {
        ++seen[slot];
        by[slot] = std::this_thread::get_id();
    });
    for (std::size_t slot = 0; slot < 8; ++slot)
        crew.submit(slot);
    for (std::size_t slot = 0; slot < 8; ++slot)
        crew.wait(slot);
    CHECK(seen == std::vector<int>(8, 1));
    CHECK(by[0] == std::this_thread::get_id());
    CHECK(by[7] != std::this_thread::get_id());
    // slots are used again
    crew.submit(2);
    crew.wait(2);
    CHECK(seen[2] == 2);
}

TEST_CASE("turns are taken in the order of their numbers") {
    Turns turns;
    std::vector<std::uint64_t> order;
    {
        std::vector<std::jthread> threads;
        for (const std::uint64_t number : {3u, 1u, 2u, 0u}) {
            threads.emplace_back(
                [&turns, &order, number] { turns.take(number, [&] { order.push_back(number); }); });
        }
    }
    CHECK(order == std::vector<std::uint64_t>{0, 1, 2, 3});
}

TEST_CASE("of a part of a disk, nothing around it is seen") {
    Disk disk(MiB);
    disk.write(0, filled(MiB, 7));
    disk.write(3000, filled(1000, 9));
    REQUIRE(disk.image->flush());
    ConvertOptions options;
    options.sources = {{"disk", {}}};
    options.part = GuestRange(GuestOffset(3000), 1000);
    const Source source = Source::open(options, disk.opener).value();
    CHECK(source.size() == 1024);
    Bytes seen(2048, std::byte{1});
    REQUIRE(source.read(GuestOffset(0), seen));
    Bytes expected = filled(1000, 9);
    expected.resize(2048);
    CHECK(seen == expected);
    CHECK(source.extent(GuestRange(GuestOffset(0), 1024)).value().range.length == 1000);
    CHECK(source.extent(GuestRange(GuestOffset(1000), 24)).value().kind == ExtentKind::unallocated);
    options.part = GuestRange(GuestOffset(MiB), 5);
    CHECK(Source::open(options, disk.opener).value().size() == 0);
}

TEST_CASE(
    "what is shown from elsewhere than its start is nothing that a new backing file has at the same place") {
    Disk disk(MiB);
    ConvertOptions options;
    options.sources = {{"disk", {}}};
    CHECK(Source::open(options, disk.opener).value().depth_of("disk") == 0);
    options.part = GuestRange(GuestOffset(0), 1000);
    CHECK(Source::open(options, disk.opener).value().depth_of("disk") == 0);
    options.part = GuestRange(GuestOffset(512), 1000);
    CHECK(Source::open(options, disk.opener).value().depth_of("disk") == std::nullopt);
}
